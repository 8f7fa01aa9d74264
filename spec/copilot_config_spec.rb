require_relative 'spec_helper'

RSpec.describe 'copilot.json of the job copilot' do
  def config(properties, links: []) = JSON.parse(render('copilot', 'config/copilot.json', properties, links: links))
  def with(name, value, base = Manifests.minimal) = Manifests.with(base, name, value)
  def without(*names) = names.reduce(Manifests.minimal) { |properties, name| with(name, nil, properties) }

  def cloud_controller(properties = {})
    cc = { 'internal_service_hostname' => 'cc.link.example.com', 'public_tls' => { 'port' => 9024, 'ca_cert' => Pki.ca('cc of the link') } }
    link('cloud_controller_https_endpoint', 'cc' => Manifests.merge(cc, properties))
  end

  # A changed certificate gets its key, and a changed key its certificate.
  def matched(properties)
    [%w[server_cert server_key], %w[bbs.client_cert bbs.client_key], %w[policy_server.client_cert policy_server.client_key],
     %w[xds.server_cert xds.server_key]].reduce(properties) do |all, names|
      other = Pki.pair('other.example.com')
      next all if (names.map { |name| Nested.get(all, name) } & other).empty?

      names.zip(other).reduce(all) { |changed, (name, value)| with(name, value, changed) }
    end
  end

  describe 'the daemon takes what is rendered from' do
    def self.manifests
      {
        'no more than is mandatory' => -> { Manifests.minimal },
        'everything' => -> { Manifests.everything },
        'everything, with a Cloud Controller that pushes' => -> { Manifests.push },
        'a BBS and a policy server that are disabled' => lambda {
          minimal = Manifests.minimal
          minimal.merge('bbs' => { 'disable' => true }, 'policy_server' => { 'disable' => true })
        },
        'no listeners that can be done without' => -> { Manifests.with(Manifests.minimal, 'listen_port_for_vip_resolver', 0) },
        'istiods in plaintext on loopback' => -> { Manifests.with(Manifests.minimal, 'xds.listen_port', 15_015) },
        'an admin address of IPv6' => -> { Manifests.with(Manifests.minimal, 'admin.listen_address', '::1') },
      }
    end

    manifests.each do |name, properties|
      it name do
        output, status = check(properties.call)
        expect(status).to be_success, output
      end
    end

    it 'the link to Cloud Controller' do
      output, status = check(without('capi.address', 'capi.ca_cert'), links: [cloud_controller])
      expect(status).to be_success, output
    end

    it 'every number at its least, and at its most' do
      [0, 1].product([Manifests.everything, Manifests.push]).each do |which, base|
        # Each listener has a port of its own.
        ports = Bounds.of('copilot').keys.grep(/port/)
        properties = Bounds.of('copilot').reduce(base) do |all, (name, bounds)|
          with(name, bounds[which] + ([10, -10][which] * (ports.index(name) || 0)), all)
        end
        output, status = check(properties)
        expect(status).to be_success, output
      end
    end

    it 'each property changed alone' do
      job_spec('copilot').fetch('properties').each_key do |name|
        output, status = check(matched(Manifests.changed(Manifests.everything, name)))
        expect(status).to be_success, "#{name}: #{output}"
      end
    end
  end

  it 'has what the manifest says' do
    expect(config(Manifests.everything)).to include(
      'ListenAddressForMCP' => '0.0.0.0:19009',
      'ListenAddressForCloudController' => '0.0.0.0:19001',
      'ListenAddressForVIPResolver' => '0.0.0.0:19012',
      'ListenAddressForXDS' => '127.0.0.2:15015',
      'AdminListenAddress' => '0.0.0.0:19003',
      'MeshDomains' => ['apps.example.com', '*.mesh.example.com'],
      'LogLevel' => 'debug',
      'LogChanges' => true,
      'LogTimestamp' => 'unix-epoch',
      'AllowedSinkNames' => ['pilot.example.com'],
      'BBS' => include('Address' => 'https://bbs.example.com:8889', 'SyncInterval' => '1m', 'MaxRemovedPercent' => 31),
      'CAPI' => include('UAAAddress' => 'https://uaa.example.com:8443', 'ClientID' => 'mesh', 'PageSize' => 100, 'TailAuditEvents' => false),
      'PolicyServerAddress' => 'https://policies.example.com:4003',
      'PolicyServerGrace' => '34s',
    )
  end

  it 'leaves out what nobody asked for' do
    expect(config(Manifests.minimal).keys).not_to include(
      'ListenAddressForCloudController', 'ListenAddressForXDS', 'AllowedSinkNames', 'MaxBulkSyncBytes', 'MaxEmptiedRoutes',
    )
  end

  it 'has no CAPI where Cloud Controller pushes' do
    expect(config(Manifests.push).keys).not_to include('CAPI', 'MeshDomains')
    expect(config(Manifests.push)).to include('MaxBulkSyncBytes' => 1_000_000, 'MaxEmptiedRoutes' => 20,
                                              'AllowedCloudControllerNames' => ['cc.example.com'])
  end

  it 'keeps secrets and certificates to the letter' do
    secret = %q(a "quoted" 'secret' with \ and <%= p('x') %> and #{x}) + "\nin two lines"
    properties = with('uaa.client_secret', secret, Manifests.everything)
    expect(config(properties)['CAPI']['ClientSecret']).to eq(secret)
    pair = Manifests.keypair('one.example.com')
    expect(config(properties)['TLSPems'].first).to eq('CertChain' => pair['cert_chain'], 'PrivateKey' => pair['private_key'])
    expect(pair['cert_chain'].lines.length).to be > 5
  end

  describe 'the link to Cloud Controller' do
    it 'gives address and CA' do
      properties = without('capi.address', 'capi.ca_cert')
      expect(config(properties, links: [cloud_controller])['CAPI']['Address']).to eq('https://cc.link.example.com:9024')
      expect(render('copilot', 'config/certs/capi_ca.crt', properties, links: [cloud_controller])).to eq(Pki.ca('cc of the link') + "\n")
    end

    it 'gives way to properties' do
      properties = Manifests.minimal
      expect(config(properties, links: [cloud_controller])['CAPI']['Address']).to eq('https://cc.example.com:9024')
      expect(render('copilot', 'config/certs/capi_ca.crt', properties, links: [cloud_controller])).to eq(Pki.ca('cc') + "\n")
    end

    it 'is named when it lacks what is needed' do
      empty = cloud_controller('internal_service_hostname' => nil, 'public_tls' => { 'port' => nil, 'ca_cert' => nil })
      expect { config(without('capi.address', 'capi.ca_cert'), links: [empty]) }
        .to raise_error(/capi\.address: .*link.*\ncapi\.ca_cert: .*link/)
    end

    it 'is named when its CA is none' do
      bad = cloud_controller('public_tls' => { 'ca_cert' => 'no PEM' })
      expect { config(without('capi.ca_cert'), links: [bad]) }.to raise_error(/capi\.ca_cert, from the link/)
    end
  end

  describe 'what is missing' do
    MANDATORY = %w[
      pilot_client_ca_cert server_cert server_key capi.address capi.ca_cert uaa.client_secret mesh_domains
      bbs.server_ca_cert bbs.client_cert bbs.client_key
      policy_server.server_ca_cert policy_server.client_cert policy_server.client_key
    ].freeze

    MANDATORY.each do |name|
      it "is named: #{name}" do
        expect { config(without(name)) }.to raise_error(/\A#{Regexp.escape(name)}: is required[^\n]*\z/)
      end
    end

    it 'is named all at once' do
      expect { config({}) }.to raise_error { |error| expect(error.message.lines.map { |line| line[/\A[^:]+/] }).to match_array(MANDATORY) }
    end

    it 'is the client CA, where Cloud Controller pushes' do
      push = with('cloud_controller_client_ca_cert', nil, Manifests.push)
      expect { config(push) }.to raise_error(/\Acloud_controller_client_ca_cert: is required with routes_source push\z/)
    end

    it 'is one half of a pair' do
      %w[xds.server_cert xds.server_key].each do |name|
        expect { config(with(name, nil, Manifests.everything)) }.to raise_error(/\A#{name}: is required with/)
      end
    end

    it 'is a part of a router certificate, by its index' do
      %w[cert_chain private_key].each do |part|
        pairs = [Manifests.keypair('one.example.com'), Manifests.keypair('two.example.com').reject { |key, _| key == part }]
        expect { config(with('frontend_tls_keypairs', pairs)) }
          .to raise_error(/\Afrontend_tls_keypairs\[1\]\.#{part}: is required\z/)
      end
    end

    it 'is protection, where istiods connect from elsewhere in plaintext' do
      properties = Manifests.merge(Manifests.minimal, 'xds' => { 'listen_port' => 15_015, 'listen_address' => '0.0.0.0' })
      expect { config(properties) }.to raise_error(/\Axds\.server_cert: .*plaintext/)
      expect { config(with('xds.allow_plaintext', true, properties)) }.not_to raise_error
    end

    it 'are not domains, where Cloud Controller pushes' do
      expect { config(with('mesh_domains', ['a.example.com'], Manifests.push)) }.to raise_error(/\Amesh_domains: /)
    end
  end

  it 'refuses router certificates that are none' do
    pair = Manifests.keypair('one.example.com')
    expect { config(with('frontend_tls_keypairs', [pair.merge('cert_chain' => 'none')])) }.to raise_error(/frontend_tls_keypairs\[0\]\.cert_chain: expected/)
    expect { config(with('frontend_tls_keypairs', [pair.merge('private_key' => pair['cert_chain'])])) }
      .to raise_error(/frontend_tls_keypairs\[0\]\.private_key: expected/)
    expect { config(with('frontend_tls_keypairs', [1])) }.to raise_error(/frontend_tls_keypairs: expected a list of hashes/)
  end
end
