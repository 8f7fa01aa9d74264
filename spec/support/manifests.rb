# Properties of manifests for the job copilot, and for each property a second good value.

require 'json'
require_relative 'nested'
require_relative 'pki'

module Manifests
  class << self
    # No more than is mandatory.
    def minimal
      {
        'server_cert' => Pki.certificate('copilot.service.cf.internal'),
        'server_key' => Pki.key('copilot.service.cf.internal'),
        'pilot_client_ca_cert' => Pki.ca('pilot'),
        'mesh_domains' => ['apps.example.com', '*.mesh.example.com'],
        'capi' => { 'address' => 'https://cc.example.com:9024', 'ca_cert' => Pki.ca('cc') },
        'uaa' => { 'client_secret' => %q(it's a "secret" \ #{no} <%= code %>) },
        'bbs' => peer('bbs'),
        'policy_server' => peer('policy-server'),
      }
    end

    # Every property, and none at its default but those that disable a source.
    def everything
      merge(minimal, JSON.parse(File.read(File.join(__dir__, 'everything.json'))), {
        'cloud_controller_client_ca_cert' => Pki.ca('cc client'),
        'uaa' => { 'ca_cert' => Pki.ca('uaa') },
        'xds' => { 'server_cert' => Pki.certificate('xds.example.com'), 'server_key' => Pki.key('xds.example.com') },
        'frontend_tls_keypairs' => [keypair('one.example.com'), keypair('two.example.com')],
      })
    end

    # The same, with a Cloud Controller that pushes.
    def push = merge(everything, { 'routes_source' => 'push', 'mesh_domains' => [], 'tcp_routes' => { 'domains' => [], 'ports' => [] } })

    # Every property of the job librarian.
    def librarian
      certificate, key = Pki.pair('backend-client.example.com')
      texts = { 'client_cert' => certificate, 'client_key' => key, 'ca_cert' => Pki.ca('instances') }
      everything.slice('frontend_tls_keypairs', 'istio_cert_root_path').merge(
        'proxy_group' => 'vcap', 'backend_tls' => everything['backend_tls'].except('verify').merge(texts)
      )
    end

    def keypair(name)
      certificate, key = Pki.pair(name)
      { 'cert_chain' => certificate, 'private_key' => key }
    end

    # The properties with one of them changed to another good value. Domains are for the one routes_source only.
    def changed(properties, name)
      pushed = properties['routes_source'] == 'push'
      return pushed ? everything : push if name == 'routes_source'
      return properties if pushed && %w[mesh_domains tcp_routes.domains tcp_routes.ports tcp_routes.poll_interval].include?(name)

      changed = with(properties, name, other(name, Nested.get(properties, name)))
      # Exceptions are for a redirect.
      name == 'defaults.https_redirect' ? with(changed, 'defaults.https_redirect_except', []) : changed
    end

    def with(properties, name, value)
      copy = Marshal.load(Marshal.dump(properties))
      Nested.set(copy, name, value)
      copy
    end

    def merge(*hashes)
      hashes.reduce do |into, from|
        into.merge(from) { |_, old, new| old.is_a?(Hash) && new.is_a?(Hash) ? merge(old, new) : new }
      end
    end

    private

    OTHERS = {
      'log_level' => 'fatal', 'logging.format.timestamp' => 'rfc3339', 'post_start.wait_for' => 'live',
      'experimental_vip_cidr' => '10.200.0.0/16', 'limits.memory' => '3G', 'istio_cert_root_path' => '/srv/certificates',
      'xds.listen_address' => '127.0.0.3', 'admin.listen_address' => '127.0.0.3',
      'backend_tls.mode' => 'simple', 'backend_tls.verify' => 'instance', 'capi.annotation_prefix' => 'other.example.com/',
      'mcp.quiet_interval' => '30ms', 'defaults.session_affinity.ttl' => '2m'
    }.freeze

    def other(name, value)
      return OTHERS.fetch(name) if OTHERS.key?(name)

      case value
      when true, false then !value
      when Integer then value + 1
      when Array
        { 'frontend_tls_keypairs' => [keypair('three.example.com')], 'tcp_routes.ports' => ['3000-3001'] }.fetch(name, ['other.example.com'])
      when /BEGIN CERTIFICATE/ then Pki.certificate('other.example.com')
      when /PRIVATE KEY/ then Pki.key('other.example.com')
      when /\A[0-9.]+(ms|s|m|h)\z/ then '1s1ms'
      when /\Ahttps:/ then 'https://other.example.com:4443'
      when String then "#{value}-other"
      else raise "#{name} is not among everything"
      end
    end

    def peer(name)
      { 'server_ca_cert' => Pki.ca(name), 'client_cert' => Pki.certificate("#{name}.example.com"),
        'client_key' => Pki.key("#{name}.example.com") }
    end
  end
end
