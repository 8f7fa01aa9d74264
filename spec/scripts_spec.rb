require_relative 'spec_helper'

RSpec.describe 'scripts/' do
  def script(name, *arguments) = Open3.capture3(File.join(ROOT, 'scripts', name), *arguments)

  it 'are bash or Ruby that can be read' do
    paths = %w[scripts/add-toolchain packages/copilot/vendor packages/copilot/packaging packages/rust-1-linux/packaging]
    paths.each do |path|
      output, status = Open3.capture2e('bash', '-n', File.join(ROOT, path))
      expect(status).to be_success, output
      expect(File.read(File.join(ROOT, path))).to include("\nset -euo pipefail\n")
    end
  end

  # A renderer whose locale is not UTF-8 takes a template for US-ASCII.
  it 'leaves templates in ASCII' do
    templates = Dir.glob(File.join(ROOT, 'jobs/*/templates/**/*.erb'))
    expect(templates).not_to be_empty
    expect(templates.reject { |path| File.binread(path).ascii_only? }).to eq([])
  end

  describe 'render-job' do
    around { |example| Dir.mktmpdir { |dir| @dir = dir and example.run } }

    def json(name, value) = File.join(@dir, name).tap { |path| File.write(path, JSON.generate(value)) }

    it 'renders a job to a folder, with the modes of the agent' do
      _, err, status = script('render-job', 'copilot', '--properties', json('p', Manifests.minimal), '--output', "#{@dir}/out")
      expect(status).to be_success, err
      expect(Dir.glob('**/*', base: "#{@dir}/out").reject { |path| File.directory?("#{@dir}/out/#{path}") })
        .to match_array(job_spec('copilot').fetch('templates').values)
      expect(File.stat("#{@dir}/out/bin/dns/healthy").mode & 0o777).to eq(0o750)
      expect(File.stat("#{@dir}/out/config/copilot.json").mode & 0o777).to eq(0o640)
    end

    it 'gives links' do
      links = { 'frontend_tls_keypairs' => { 'properties' => { 'frontend_tls_keypairs' => [] } } }
      _, err, status = script('render-job', 'librarian', '--properties', json('p', {}), '--links', json('l', links), '--output', "#{@dir}/out")
      expect(status).to be_success, err
      expect(JSON.parse(File.read("#{@dir}/out/config/librarian.json"))['TLSPems']).to eq([])
    end

    it 'fails with what a template says, and writes nothing' do
      _, err, status = script('render-job', 'copilot', '--properties', json('p', {}), '--output', "#{@dir}/out")
      expect(status).not_to be_success
      expect(err).to include('server_cert: is required')
      expect(File.exist?("#{@dir}/out")).to be(false)
    end
  end

  describe 'add-toolchain' do
    around { |example| Dir.mktmpdir { |dir| @dir = dir and example.run } }

    before do
      FileUtils.mkdir_p(%w[scripts config].map { |folder| "#{@dir}/#{folder}" })
      FileUtils.cp(File.join(ROOT, 'scripts/add-toolchain'), "#{@dir}/scripts")
      File.write("#{@dir}/cargo-1.tar.gz", 'cargo')
      File.write("#{@dir}/rustc-1.tar.gz", 'rustc')
      sha256 = Digest::SHA256.hexdigest('cargo')
      File.write("#{@dir}/config/blobs.yml", { 'rust/cargo-1.tar.gz' => { 'size' => 5, 'sha' => "sha256:#{sha256}" },
                                               'rust/rustc-1.tar.gz' => { 'size' => 5, 'sha' => "sha256:#{sha256}" } }.to_yaml)
    end

    def add(file) = Open3.capture2e("#{@dir}/scripts/add-toolchain", "#{@dir}/#{file}")

    it 'takes what config/blobs.yml means' do
      output, status = add('cargo-1.tar.gz')
      expect(status).to be_success, output
      expect(File.read("#{@dir}/blobs/rust/cargo-1.tar.gz")).to eq('cargo')
    end

    it 'takes nothing else' do
      output, status = add('rustc-1.tar.gz')
      expect(status).not_to be_success
      expect(output).to include('is not the file')
      expect(File.exist?("#{@dir}/blobs")).to be(false)
      File.write("#{@dir}/other", '')
      expect(add('other').last).not_to be_success
    end
  end

  describe 'property-table' do
    it 'has written docs/properties.md' do
      _, err, status = script('property-table', '--check')
      expect(status).to be_success, err
    end

    it 'lists the keys of the config' do
      out, = script('property-table', '--keys')
      expect(out.lines(chomp: true)).to include('BBS.Address', 'CAPI.ClientSecret', 'MaxBulkSyncBytes', 'TLSPems[].CertChain', 'VIPCIDR')
      expect(out.lines).to eq(out.lines.sort)
    end
  end

  describe 'property-table' do
    it 'shows that the jobs can set every key that the daemon knows, and no other' do
      keys, status = Open3.capture2(COPILOT, 'keys')
      expect(status).to be_success
      known = keys.split
      # Sections are keys too, to the daemon; and Pilots have no address of their own any more.
      sections = known.select { |key| known.any? { |other| other.start_with?("#{key}.", "#{key}[") } }
      settable, = script('property-table', '--keys')
      expect(settable.split).to match_array(known - sections - ['ListenAddressForPilot'])
    end
  end
end
