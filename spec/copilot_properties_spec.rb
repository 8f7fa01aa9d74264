require_relative 'spec_helper'

RSpec.describe 'properties of the job copilot' do
  def self.names = YAML.safe_load(File.read(File.join(ROOT, 'jobs/copilot/spec'))).fetch('properties').keys
  names = names()

  def rendered?(properties)
    render('copilot', 'config/copilot.json', properties)
    true
  rescue Bosh::Template::UnknownProperty, NoMethodError, TypeError, NameError
    raise # The template is broken, or says nothing that helps.
  rescue StandardError => e
    @error = e.message
    false
  end

  it 'are all described' do
    job_spec('copilot').fetch('properties').each do |name, definition|
      expect(definition['description'].to_s).to match(/\A\S.*\S\z/), name
      expect(definition.keys - %w[description default example]).to be_empty, name
      # What has neither default nor example leaves operators guessing.
      expect(definition.key?('default') || definition.key?('example')).to be(true), name
    end
  end

  it 'are all in the manifest of everything' do
    missing = names.select { |name| Nested.get(Manifests.everything, name).nil? }
    expect(missing).to be_empty
  end

  # Bad values, each with what it should have been. By the kind of property.
  BAD = {
    'port' => [0, -1, 65_536, 1.5, '9009', true, []],
    'port or none' => [-1, 65_536, '9002', false],
    'percent' => [-1, 101, '20', true],
    'whole' => [-1, '1', 1.5, true],
    'duration' => ['30', 's', '1 s', '-1s', '1x', '1s2', '1e3s', "1s\n", 30, true, ''],
    'flag' => ['true', 'yes', 1, 0, 'false'],
    'certificates' => ['none', '', 1, {}, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"],
    'key' => ['none', '', 1, {}],
    'https' => ['http://x:1', 'x:1', 'https://', 'https://x:1/path', 'https://u:p@x:1', 'https://x:1?q', 'https://x:y', 'https://[x]:1', '', 1],
    'address' => ['localhost', '127.0.0.1/8', '127.0.0.1:80', '', 1, []],
    'texts' => ['a.example.com', [1], [''], { 'a' => 1 }],
    'text' => [1, true, [], {}, ''],
    'proxy path' => ['etc/x', '/', '/etc/', '/a~b', "/a\n", '', 1, []],
  }.freeze
  # Of a name of 253 characters, all but the last 61.
  DOTTED = "#{'a' * 63}." * 3
  KINDS = {
    'port' => %w[listen_port_for_mcp listen_port_for_cloud_controller admin.port],
    'port or none' => %w[listen_port_for_vip_resolver xds.listen_port],
    'percent' => %w[limits.loss_percent capi.max_shrink_percent bbs.max_removed_percent policy_server.max_removed_percent],
    'whole' => %w[
      capi.page_size limits.loss limits.host_routes limits.host_bytes limits.app_routes limits.sink_streams
      limits.sink_streams_per_peer limits.sink_requests_per_second limits.bulk_sync_bytes limits.emptied_routes limits.open_files post_start.timeout_seconds drain.wait_seconds
      bbs.client_session_cache_size bbs.max_idle_conns_per_host defaults.retry_attempts defaults.internal_retry_attempts
      defaults.outlier_detection.connection_failures
    ],
    'duration' => names.grep(/interval\z|request_timeout\z|grace\z|\Astate_file\.(max_age|after)\z|_age\z|\Adefaults\..*(time|timeout)\z/),
    'flag' => %w[
      capi.tail_audit_events capi.tail_route_updates capi.serve_bound_routes bbs.disable policy_server.disable
      vip_resolver_tls state_file.enabled state_file.persistent xds.allow_plaintext xds.keep_empty_service_entries
      logging.changes defaults.https_redirect defaults.retry_resets
    ],
    'certificates' => names.grep(/_cert\z/),
    'key' => names.grep(/_key\z/),
    'https' => names.grep(/\A(capi|uaa|bbs|policy_server)\.address\z/),
    'address' => %w[admin.listen_address xds.listen_address],
    'texts' => %w[allowed_pilot_names allowed_cloud_controller_names admin.host_names defaults.https_redirect_except],
    'proxy path' => names.grep(/_tls\..*_path\z/),
    'text' => %w[uaa.client_name uaa.client_secret dns_address_for_mcp],
  }.freeze
  OTHERS = {
    'mesh_domains' => [
      'a.example.com', [1], [''], ['.'], ['*'], ['*.'], ['ok.example.com', '*b.example.com'], ['a b'], ['a.*.b'], ['*.*.b'],
      ["a\n"], ['.foo.com'], ['a..b'], ['a.b..'], ['-bad.com'], ['bad-.com'], ['*.-bad.com'], ['under_score.com'],
      ["#{'a' * 64}.com"], [DOTTED + 'a' * 62], ["#{DOTTED}#{'a' * 62}."], ["*.#{DOTTED}#{'a' * 60}"], ['b\u00fccher.example'],
      ['https://a.com'], ['a.com:80'], ['a.com/b'], ['10.0.0.1'], ['a.7.'], ['user@a.com']
    ],
    'capi.annotation_prefix' => ['', '/', 'mesh.example.com', '*.example.com/', 'a b/', 'a/b/', 'a.b./', "a.b/\n", 1],
    'log_level' => ['warn', 'INFO', '', 1],
    'logging.format.timestamp' => ['iso', '', 1],
    'routes_source' => ['both', '', 1],
    'backend_tls.mode' => ['tls', 'MUTUAL', '', 1],
    'backend_tls.verify' => ['none', '', 1],
    'post_start.wait_for' => ['healthy', '', 1],
    'defaults.session_affinity.cookie' => ['', 'a b', 'a/b', "a\n", 'a' * 65, 1],
    'defaults.session_affinity.ttl' => ['', '90', '1m30s', '500ms', '-1s', "1s\n", 90],
    'defaults.region' => ['', 'a b', 'eu/west', "a\n", 'a' * 65, 1],
    'limits.memory' => ['2', '2X', 'lots', '', 2, '0G', '-1G'],
    'experimental_vip_cidr' => ['127.0.0.1', '::/8', 'fd00::1', '127.0.0.0/33', 'all', '', 9],
    'istio_cert_root_path' => ['etc/istio', '', 1],
    'frontend_tls_keypairs' => ['none', {}, [1], [{}], [{ 'cert_chain' => 'a', 'private_key' => 'b' }]],
  }.freeze
  bad = KINDS.flat_map { |kind, of_kind| of_kind.map { |name| [name, BAD.fetch(kind)] } }.to_h.merge(OTHERS)

  it 'each have values that are refused' do
    expect(bad.keys).to match_array(names)
  end

  bad.each do |name, values|
    it "refuses bad values of #{name}, as the schema does" do
      values.each do |value|
        # What only matters with a pushing Cloud Controller is refused without one as well.
        properties = Manifests.with(Manifests.everything, name, value)
        expect(rendered?(properties)).to be(false), "#{value.inspect} was taken"
        expect(@error).to match(/^#{Regexp.escape(name)}[:\[]/), "#{value.inspect}: #{@error}"
        errors = schema('copilot').errors(bound('copilot', properties))
        expect(errors).to include(start_with(name)), "#{value.inspect} passes the schema: #{errors}"
      end
    end
  end

  it 'are taken in their less usual forms, as the schema and the daemon do' do
    {
      'bbs.sync_interval' => %w[0 1ms 1.5h 1m30s .5s 8760h 100us1ms 1000µs],
      'mesh_domains' => [
        ['*.example.com', 'a', 'Shop-1.example-2.com', 'example.com.', '*.example.com.', '1a.2b.c3', 'xn--bcher-kva.example'],
        ["#{'a' * 63}.com", DOTTED + 'a' * 61, "#{DOTTED}#{'a' * 61}.", "*.#{DOTTED}#{'a' * 59}"],
      ],
      'capi.address' => ['https://10.0.0.1', 'https://[::1]:9024', 'https://cc.example.com:9024/'],
      'limits.memory' => %w[1G 512M 2GiB 3TB], 'admin.listen_address' => ['::', '::1', '10.0.0.1'],
      'pilot_client_ca_cert' => [Pki.ca('a') + Pki.ca('b'), "a comment\n#{Pki.ca('a')}"],
    }.each do |name, values|
      values.each do |value|
        properties = Manifests.with(Manifests.everything, name, value)
        expect(rendered?(properties)).to be(true), "#{name}: #{@error}"
        expect(schema('copilot').errors(bound('copilot', properties))).to be_empty, "#{name}: #{value.inspect}"
        output, status = check(properties)
        expect(status).to be_success, "#{name}: #{value.inspect}: #{output}"
      end
    end
  end

  Bounds.of('copilot').each do |name, (least, most)|
    it "takes #{least} to #{most} for #{name}, as the schema does" do
      { least - 1 => false, least => true, most => true, most + 1 => false }.each do |value, good|
        expect(rendered?(Manifests.with(Manifests.everything, name, value))).to be(good), "#{value}: #{@error}"
      end
    end
  end

  # A pattern cannot count.
  it 'refuse ports in addresses that are none' do
    expect(rendered?(Manifests.with(Manifests.minimal, 'bbs.address', 'https://x:65536'))).to be(false)
    expect(@error).to start_with('bbs.address: ')
  end

  it 'say what was probably meant by a domain, and that a range is IPv6' do
    { '.foo.com' => '*.foo.com', '*foo.com' => '*.foo.com', '*.*.foo.com' => '*.foo.com' }.each do |domain, meant|
      expect(rendered?(Manifests.with(Manifests.minimal, 'mesh_domains', ['a.com', domain]))).to be(false)
      expect(@error).to match(/\Amesh_domains\[1\]: .*; did you mean #{Regexp.escape(meant)}\?\z/)
    end
    expect(rendered?(Manifests.with(Manifests.minimal, 'experimental_vip_cidr', 'fd00::/8'))).to be(false)
    expect(@error).to match(/\Aexperimental_vip_cidr: this is IPv6, .*\z/)
  end

  it 'refuse durations that the daemon refuses' do
    %w[1us 999us 8761h 1ns].each do |value|
      expect(rendered?(Manifests.with(Manifests.minimal, 'bbs.sync_interval', value))).to be(false), value
      expect(@error).to start_with('bbs.sync_interval: ')
    end
  end

  it 'keep changes from sinks for no longer than the daemon does' do
    intervals = {
      'xds.push_interval' => %w[10s 10001ms],
      'mcp.push_interval' => %w[30s 30001ms],
      'mcp.linger_interval' => %w[10m 10m1s]
    }
    intervals.each do |name, values|
      values.zip([true, false]).each do |value, good|
        properties = Manifests.with(Manifests.everything, name, value)
        expect(rendered?(properties)).to be(good), "#{name}, #{value}: #{@error}"
        expect(check(properties).last.success?).to be(true) if good
      end
    end
  end

  describe 'and their schema' do
    let(:document) { JSON.parse(File.read(File.join(ROOT, 'jobs/copilot/properties_schema.json'))) }

    it 'are the same set' do
      expect(Bounds.leaves(document).keys).to match_array(names)
    end

    it 'are for the draft that Directors know' do
      expect(document['$schema']).to eq('https://json-schema.org/draft/2020-12/schema')
    end

    it 'agree on good manifests' do
      [Manifests.minimal, Manifests.everything, Manifests.push,
       Manifests.minimal.merge('bbs' => { 'disable' => true }, 'policy_server' => { 'disable' => true })].each do |properties|
        expect(schema('copilot').errors(bound('copilot', properties))).to be_empty
      end
    end

    it 'agree on what is mandatory, but for what a link may give' do
      names.each do |name|
        [Manifests.minimal, Manifests.everything, Manifests.push].each do |base|
          properties = Manifests.with(base, name, nil)
          # What is refused of another property than the one that is missing is no matter of the schema.
          expected = rendered?(properties) || name.match?(/\A(capi\.(address|ca_cert)|defaults\.https_redirect)\z/)
          errors = schema('copilot').errors(bound('copilot', properties))
          expect(errors.empty?).to be(expected), "#{name}: #{errors} #{@error}"
        end
      end
    end

    it 'agree on istiods in plaintext' do
      [['0.0.0.0', false], ['127.0.0.1', true], ['127.1.2.3', true], ['::1', true], ['::', false]].each do |address, good|
        properties = Manifests.merge(Manifests.minimal, 'xds' => { 'listen_port' => 15_015, 'listen_address' => address })
        expect(rendered?(properties)).to be(good), address
        expect(schema('copilot').valid?(bound('copilot', properties))).to be(good), address
      end
    end

    it 'agree on domains, where Cloud Controller pushes' do
      properties = Manifests.with(Manifests.push, 'mesh_domains', ['a.example.com'])
      expect(schema('copilot').errors(bound('copilot', properties))).to eq(['mesh_domains'])
    end
  end

  rendered = {}
  # Only other jobs read it, through the link mcp_conn.
  (names - ['dns_address_for_mcp']).each do |name|
    it "has an effect: #{name}" do
      changed = [Manifests.everything, Manifests.push].any? do |base|
        rendered[base] ||= render_all('copilot', base)
        render_all('copilot', Manifests.changed(base, name)) != rendered[base]
      end
      expect(changed).to be(true)
    end
  end

  it 'reach other jobs by the links' do
    provided = job_spec('copilot').fetch('provides').to_h { |link| [link['name'], link['properties']] }
    expect(provided).to eq(
      'mcp_conn' => %w[dns_address_for_mcp listen_port_for_mcp],
      'cloud_controller_to_copilot_conn' => %w[listen_port_for_cloud_controller],
      'vip_resolver_conn' => %w[listen_port_for_vip_resolver],
      'frontend_tls_keypairs' => %w[
        frontend_tls_keypairs istio_cert_root_path
        backend_tls.mode backend_tls.client_cert_path backend_tls.client_key_path backend_tls.ca_cert_path
      ],
    )
    expect(names).to include(*provided.values.flatten)
  end
end
