require_relative 'spec_helper'

RSpec.describe 'files of the job copilot' do
  let(:minimal) { Manifests.minimal }

  def with(name, value, base = Manifests.minimal) = Manifests.with(base, name, value)

  it 'are rendered to their places from every template' do
    destinations = job_spec('copilot').fetch('templates').values
    templates = Dir.glob('**/*.erb', base: File.join(ROOT, 'jobs/copilot/templates'))
    expect(job_spec('copilot').fetch('templates').keys).to match_array(templates)
    expect(destinations).to include('bin/copilot', 'bin/dns/healthy', 'bin/drain', 'bin/post-start', 'bin/pre-start', 'config/bpm.yml')
    expect(destinations.uniq).to eq(destinations)
    expect { render_all('copilot', minimal) }.not_to raise_error
  end

  it 'have an end of line, and none of the template left' do
    [minimal, Manifests.everything, Manifests.push].each do |properties|
      render_all('copilot', properties).each do |path, content|
        expect(content).to match(/\n\z/).or(eq('')), path
        # The secret of the minimal manifest looks like a template.
        expect(content.gsub('<%= code %>', '')).not_to match(/<%|%>/), path
      end
    end
  end

  describe 'of certificates' do
    FILES = {
      'server.crt' => 'server_cert', 'server.key' => 'server_key', 'pilot_client_ca.crt' => 'pilot_client_ca_cert',
      'cloud_controller_client_ca.crt' => 'cloud_controller_client_ca_cert',
      'bbs_ca.crt' => 'bbs.server_ca_cert', 'bbs.crt' => 'bbs.client_cert', 'bbs.key' => 'bbs.client_key',
      'policy_server_ca.crt' => 'policy_server.server_ca_cert', 'policy_server.crt' => 'policy_server.client_cert',
      'policy_server.key' => 'policy_server.client_key', 'xds.crt' => 'xds.server_cert', 'xds.key' => 'xds.server_key'
    }.freeze

    FILES.each do |file, name|
      it "have the text of #{name}, line by line" do
        everything = Manifests.everything
        expect(render('copilot', "config/certs/#{file}", everything)).to eq("#{Nested.get(everything, name)}\n")
      end
    end

    it 'are all of them, with the one of two CAs' do
      destinations = job_spec('copilot').fetch('templates').values.grep(%r{\Aconfig/certs/})
      expect(destinations.map { |path| File.basename(path) }).to match_array(FILES.keys + ['capi_ca.crt'])
    end

    it 'are those that the config names' do
      config = render('copilot', 'config/copilot.json', Manifests.everything)
      named = config.scan(%r{/var/vcap/jobs/copilot/(config/certs/[^"]+)}).flatten
      expect(named).to match_array(job_spec('copilot').fetch('templates').values.grep(%r{\Aconfig/certs/}))
    end

    it 'hold every CA of a bundle' do
      bundle = Pki.ca('one') + Pki.ca('two')
      expect(render('copilot', 'config/certs/bbs_ca.crt', with('bbs.server_ca_cert', bundle)).scan('BEGIN').length).to eq(2)
    end

    it 'keep the CAs of Cloud Controller and the UAA apart, without an end of line too' do
      properties = Manifests.merge(minimal, 'capi' => { 'ca_cert' => Pki.ca('cc').chomp }, 'uaa' => { 'ca_cert' => Pki.ca('uaa').chomp })
      expect(render('copilot', 'config/certs/capi_ca.crt', properties)).to eq(Pki.ca('cc') + Pki.ca('uaa'))
    end
  end

  describe 'of bpm' do
    def bpm(properties) = YAML.safe_load(render('copilot', 'config/bpm.yml', properties))

    it 'start the daemon with its config' do
      expect(bpm(minimal)).to eq('processes' => [{
        'name' => 'copilot',
        'executable' => '/var/vcap/packages/copilot/bin/copilot',
        'args' => %w[serve --config /var/vcap/jobs/copilot/config/copilot.json],
        'env' => { 'MALLOC_ARENA_MAX' => '2', 'MALLOC_MMAP_THRESHOLD_' => '262144' },
        'limits' => { 'open_files' => 65_536 },
        'ephemeral_disk' => true,
      }])
    end

    it 'give it the disk of its state file, if it has one' do
      process = ->(properties) { bpm(properties)['processes'].first }
      expect(process.(Manifests.everything)).to include('persistent_disk' => true)
      without = process.(Manifests.with(minimal, 'state_file.enabled', false))
      expect(without.keys).not_to include('ephemeral_disk', 'persistent_disk')
    end

    it 'limit it as the manifest says' do
      expect(bpm(Manifests.everything)['processes'].first['limits']).to eq('open_files' => 10_000, 'memory' => '2G')
    end
  end

  it 'of monit leave all to bpm' do
    expect(File.read(File.join(ROOT, 'jobs/copilot/monit')).split("\n").map(&:strip)).to eq([
      'check process copilot',
      'with pidfile /var/vcap/sys/run/bpm/copilot/copilot.pid',
      'start program "/var/vcap/jobs/bpm/bin/bpm start copilot"',
      'stop program "/var/vcap/jobs/bpm/bin/bpm stop copilot"',
      'group vcap',
    ])
  end

  describe 'of the scraper' do
    def scraper(properties, **spec) = YAML.safe_load(render('copilot', 'config/prom_scraper_config.yml', properties, **spec))

    it 'tell where the metrics are' do
      expect(scraper(minimal, id: 'an-id')).to eq(
        'port' => 9003, 'source_id' => 'copilot', 'instance_id' => 'an-id', 'scheme' => 'http', 'path' => '/metrics',
        'labels' => { 'origin' => 'copilot' },
      )
    end

    it 'have the index where there is no id' do
      expect(scraper(minimal, id: nil, index: 3)['instance_id']).to eq('3')
    end

    it 'have the port of the manifest' do
      expect(scraper(Manifests.everything)['port']).to eq(19_003)
    end

    it 'are empty where the scraper would find nothing' do
      expect(render('copilot', 'config/prom_scraper_config.yml', with('admin.listen_address', '10.0.0.1'))).to eq('')
    end
  end
end
