require_relative 'spec_helper'

RSpec.describe 'scripts of the job copilot' do
  # The daemon's admin listener, as the scripts see it. The block gives the status of a path.
  def admin(address = '127.0.0.1', &answer)
    server = Loopback.new(address, &answer)
    @servers = [*@servers, server]
    [server, with(Manifests.minimal, 'admin' => { 'port' => server.port, 'listen_address' => address })]
  end

  after { @servers&.each(&:close) }

  def run(script, properties)
    deploy('copilot', properties) do |vcap|
      yield vcap if block_given?
      @out, @err, @status = run_script(vcap, 'copilot', script)
      @draining = File.exist?(File.join(vcap, 'sys/run/copilot/draining'))
      log = File.join(vcap, 'sys/log/copilot/drain.log')
      @log = File.file?(log) ? File.read(log) : nil
    end
    @status.exitstatus
  end

  def drain_flag(vcap)
    FileUtils.mkdir_p(File.join(vcap, 'sys/run/copilot'))
    FileUtils.touch(File.join(vcap, 'sys/run/copilot/draining'))
  end

  def with(properties, more) = Manifests.merge(properties, more)

  # A port where nobody listens.
  def nobody = TCPServer.open('127.0.0.1', 0) { |server| server.addr[1] }

  it 'are bash' do
    [Manifests.minimal, Manifests.everything].each do |properties|
      scripts = render_all('copilot', properties).select { |path, _| path.start_with?('bin/') }
      expect(scripts.length).to eq(5)
      scripts.each do |path, content|
        output, status = Open3.capture2e('bash', '-n', stdin_data: content)
        expect(status).to be_success, "#{path}: #{output}"
        expect(content).to start_with("#!/usr/bin/env bash\n")
        expect(content).to include('set -euo pipefail')
      end
    end
  end

  describe 'bin/dns/healthy' do
    it 'is 0 while the daemon is ready' do
      server, properties = admin { 200 }
      expect(run('bin/dns/healthy', properties)).to eq(0)
      expect(server.paths).to eq(['/readyz'])
    end

    it 'is 1 while it is not' do
      _, properties = admin { 503 }
      expect(run('bin/dns/healthy', properties)).to eq(1)
    end

    it 'is 1 when nobody listens' do
      expect(run('bin/dns/healthy', with(Manifests.minimal, 'admin' => { 'port' => nobody }))).to eq(1)
    end

    it 'is 1 when nobody answers, before bosh-dns asks again' do
      _, properties = admin { nil }
      began = Process.clock_gettime(Process::CLOCK_MONOTONIC)
      expect(run('bin/dns/healthy', properties)).to eq(1)
      expect(Process.clock_gettime(Process::CLOCK_MONOTONIC) - began).to be < 5
    end

    it 'is 1 while the instance is drained, and does not ask' do
      server, properties = admin { 200 }
      expect(run('bin/dns/healthy', properties) { |vcap| drain_flag(vcap) }).to eq(1)
      expect(server.paths).to be_empty
    end

    it 'is 0 again when the daemon lives on long after it was drained' do
      _, properties = admin { 200 }
      healthy = run('bin/dns/healthy', with(properties, 'drain' => { 'wait_seconds' => 5 })) do |vcap|
        drain_flag(vcap)
        FileUtils.touch(File.join(vcap, 'sys/run/copilot/draining'), mtime: Time.now - 66)
      end
      expect(healthy).to eq(0)
    end

    it 'asks the address that the daemon listens on' do
      server, properties = admin('127.0.0.9') { 200 }
      expect(run('bin/dns/healthy', properties)).to eq(0)
      expect(server.paths).to eq(['/readyz'])
    end

    it 'asks loopback when the daemon listens everywhere' do
      _, properties = admin { 200 }
      expect(run('bin/dns/healthy', with(properties, 'admin' => { 'listen_address' => '0.0.0.0' }))).to eq(0)
    end

    it 'writes addresses of IPv6 in brackets' do
      { '::' => '[::1]', 'fd00::1' => '[fd00::1]' }.each do |address, host|
        properties = with(Manifests.minimal, 'admin' => { 'listen_address' => address })
        %w[bin/dns/healthy bin/post-start].each do |path|
          expect(render('copilot', path, properties)).to include("'http://#{host}:9003/")
        end
      end
    end
  end

  describe 'bin/copilot' do
    def copilot(properties, *arguments)
      deploy('copilot', properties) do |vcap|
        _, status = Open3.capture2e('bash', File.join(vcap, 'jobs/copilot/bin/copilot'), *arguments)
        return status.exitstatus
      end
    end

    it 'runs a command of the daemon, which asks the job\'s admin address' do
      server, properties = admin { 200 }
      expect(copilot(properties, 'explain', 'shop.example.com/cart')).to eq(0)
      expect(server.paths).to eq(['/debug/explain/shop.example.com%2Fcart'])
    end

    it 'asks on loopback whoever listens everywhere' do
      server, properties = admin { 503 }
      properties = with(properties, 'admin' => { 'listen_address' => '0.0.0.0' })
      expect(copilot(properties, 'status')).to eq(2)
      expect(server.paths).to eq(['/debug/status'])
    end
  end

  describe 'bin/post-start' do
    def waiting(seconds, more = {}) = with({ 'post_start' => { 'timeout_seconds' => seconds } }, more)

    it 'waits until the daemon runs' do
      answers = [503, 503]
      server, properties = admin { answers.shift || 200 }
      expect(run('bin/post-start', with(properties, waiting(20)))).to eq(0), @err
      expect(server.paths).to eq(['/healthz'] * 3)
    end

    it 'waits until it is ready, where the manifest says so' do
      server, properties = admin { |path| path == '/readyz' ? 200 : 500 }
      expect(run('bin/post-start', with(properties, waiting(20, 'post_start' => { 'wait_for' => 'ready' })))).to eq(0)
      expect(server.paths).to eq(['/readyz'])
    end

    it 'gives up in time, and shows the answer' do
      _, properties = admin { 503 }
      expect(run('bin/post-start', with(properties, waiting(1)))).to eq(1)
      expect(@out).to include('no success within 1 seconds').and include('answer')
    end

    it 'gives up when nobody listens' do
      expect(run('bin/post-start', with(Manifests.minimal, waiting(1, 'admin' => { 'port' => nobody })))).to eq(1)
    end

    it 'does not wait for 0 seconds' do
      server, properties = admin { 503 }
      expect(run('bin/post-start', with(properties, waiting(0)))).to eq(0)
      expect(server.paths).to be_empty
    end

    it 'writes times as the daemon does' do
      { 'rfc3339' => /\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z /, 'unix-epoch' => /\A\d{10}\.\d{9} / }.each do |format, expected|
        _, properties = admin { 200 }
        run('bin/post-start', with(properties, 'logging' => { 'format' => { 'timestamp' => format } }))
        expect(@out.lines).to all(match(expected))
        expect(@out.lines.length).to eq(2)
      end
    end
  end

  describe 'bin/drain' do
    let(:at_once) { with(Manifests.minimal, 'drain' => { 'wait_seconds' => 0 }) }

    it 'says 0 and nothing else' do
      expect(run('bin/drain', at_once)).to eq(0)
      expect(@out).to eq("0\n")
    end

    it 'has bin/dns/healthy fail' do
      run('bin/drain', at_once)
      expect(@draining).to be(true)
    end

    it 'waits for DNS to notice' do
      began = Process.clock_gettime(Process::CLOCK_MONOTONIC)
      run('bin/drain', with(Manifests.minimal, 'drain' => { 'wait_seconds' => 1 }))
      expect(Process.clock_gettime(Process::CLOCK_MONOTONIC) - began).to be_between(1, 4)
    end

    it 'says what it does in a file of its own, which the agent keeps for no drain' do
      run('bin/drain', at_once)
      expect(@log).to match(/\A\S+Z out of DNS, 0 seconds before the process ends\n\z/)
      expect(@err).to eq('')
      run('bin/drain', at_once) { |vcap| FileUtils.mkdir_p(File.join(vcap, 'sys/run')) and File.write(File.join(vcap, 'sys/run/copilot'), '') }
      expect(@log).to include('DNS will notice')
    end

    it 'does not stop the stop when it cannot write' do
      expect(run('bin/drain', Manifests.minimal) { |vcap| File.write(File.join(vcap, 'sys'), '') }).to eq(0)
      expect(@out).to eq("0\n")
      expect(@err).to include('DNS will notice')
    end
  end

  describe 'bin/pre-start' do
    it 'ends what the last drain began' do
      expect(run('bin/pre-start', Manifests.minimal) { |vcap| drain_flag(vcap) }).to eq(0)
      expect(@draining).to be(false)
    end

    it 'does nothing the first time' do
      expect(run('bin/pre-start', Manifests.minimal)).to eq(0)
    end
  end
end
