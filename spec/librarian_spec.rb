require_relative 'spec_helper'

RSpec.describe 'the job librarian' do
  let(:pairs) { [Manifests.keypair('one.example.com'), Manifests.keypair('*.two.example.com')] }

  def config(properties, links: []) = JSON.parse(render('librarian', 'config/librarian.json', properties, links: links))
  def copilot(properties) = link('frontend_tls_keypairs', properties)
  def written(pairs) = pairs.map { |pair| { 'CertChain' => pair['cert_chain'], 'PrivateKey' => pair['private_key'] } }

  it 'has what the manifest says' do
    expect(config({ 'frontend_tls_keypairs' => pairs, 'istio_cert_root_path' => '/srv/istio' }))
      .to eq('IstioCertRootPath' => '/srv/istio', 'TLSPems' => written(pairs))
  end

  it 'has what the link says, and a folder of its own where it does not' do
    from_link = copilot('frontend_tls_keypairs' => pairs, 'istio_cert_root_path' => '/srv/link')
    expect(config({}, links: [from_link])).to eq('IstioCertRootPath' => '/srv/link', 'TLSPems' => written(pairs))
    expect(config({}, links: [copilot('frontend_tls_keypairs' => [])])).to eq('IstioCertRootPath' => '/etc/istio', 'TLSPems' => [])
  end

  it 'prefers the manifest' do
    from_link = copilot('frontend_tls_keypairs' => pairs, 'istio_cert_root_path' => '/srv/link')
    properties = { 'frontend_tls_keypairs' => pairs.take(1), 'istio_cert_root_path' => '/srv/own' }
    expect(config(properties, links: [from_link])).to eq('IstioCertRootPath' => '/srv/own', 'TLSPems' => written(pairs.take(1)))
  end

  describe 'for TLS to instances' do
    let(:everything) { Manifests.librarian }
    let(:backend) { everything['backend_tls'] }
    let(:expected) do
      { 'Mode' => 'mutual', 'ClientCert' => backend['client_cert'], 'ClientKey' => backend['client_key'], 'CACert' => backend['ca_cert'],
        'ClientCertPath' => '/var/vcap/data/backend/client.crt', 'ClientKeyPath' => '/var/vcap/data/backend/client.key',
        'CACertPath' => '/var/vcap/data/backend/ca.crt' }
    end

    def texts = backend.slice('client_cert', 'client_key', 'ca_cert')

    it 'writes what the manifest says to where it says' do
      expect(config(everything)).to include('BackendTLS' => expected, 'IstioCertGroup' => 'vcap')
    end

    it 'writes it to where copilot tells the proxies to look' do
      properties = { 'backend_tls' => texts }
      from_link = copilot(Manifests.everything)
      expect(config(properties, links: [from_link])['BackendTLS']).to eq(expected)
      told = JSON.parse(render('copilot', 'config/copilot.json', Manifests.everything))['BackendTLS']
      expect(told).to include(expected.slice('ClientCertPath', 'ClientKeyPath', 'CACertPath'))
    end

    it 'and copilot have the same paths where neither is told any' do
      own = config({ 'frontend_tls_keypairs' => [], 'backend_tls' => texts })['BackendTLS']
      copilots = Manifests.merge(Manifests.minimal, 'backend_tls' => { 'mode' => 'mutual' })
      told = JSON.parse(render('copilot', 'config/copilot.json', copilots))['BackendTLS']
      expect(own).to include(told.except('Verify'))
    end

    it 'writes the CA alone where proxies present nothing' do
      properties = Manifests.merge(everything, 'backend_tls' => { 'mode' => 'simple' })
      expect(config(properties)['BackendTLS'].keys).to contain_exactly('Mode', 'CACert', 'CACertPath')
    end

    it 'writes nothing of it where there is nothing' do
      expect(config({}, links: [copilot(Manifests.everything)])).not_to include('BackendTLS')
    end

    it 'names what is missing of a whole' do
      backend.slice('client_cert', 'client_key', 'ca_cert').each_key do |name|
        expect { config(Manifests.with(everything, "backend_tls.#{name}", nil)) }.to raise_error("backend_tls.#{name}: is required")
      end
    end

    it 'is written before the proxies start' do
      properties = Manifests.with(everything, 'proxy_group', Process.gid.to_s)
      deploy('librarian', properties) do |vcap|
        FileUtils.mkdir_p(File.join(vcap, 'data'))
        out, err, status = run_script(vcap, 'librarian', 'bin/pre-start')
        expect(status).to be_success, out + err
        expect(File.read(File.join(vcap, 'data/backend/client.key'))).to eq(backend['client_key'])
        expect(File.stat(File.join(vcap, 'data/backend/client.key')).mode & 0o7777).to eq(0o640)
      end
    end
  end

  it 'names what is missing' do
    expect { config({}) }.to raise_error(/\Afrontend_tls_keypairs: is required/)
    expect { config({ 'frontend_tls_keypairs' => [pairs[0], pairs[1].reject { |key, _| key == 'private_key' }] }) }
      .to raise_error(/\Afrontend_tls_keypairs\[1\]\.private_key: is required\z/)
  end

  it 'refuses bad values, as the schema does' do
    no_certificate = "-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----"
    {
      'istio_cert_root_path' => ['etc/istio', '', 1],
      'frontend_tls_keypairs' => ['none', {}, [1], [{ 'cert_chain' => 'a', 'private_key' => 'b' }],
                                  [Manifests.keypair('a.example.com').merge('private_key' => 1)]],
      'proxy_group' => ['', 1, []],
      'backend_tls.mode' => ['tls', '', 1],
      'backend_tls.client_cert' => ['none', '', 1, no_certificate, pairs[0]['private_key']],
      'backend_tls.client_key' => ['none', '', 1, pairs[0]['cert_chain']],
      'backend_tls.ca_cert' => ['none', '', 1, no_certificate],
      'backend_tls.client_cert_path' => ['etc/x', '/etc/', '', 1],
      'backend_tls.client_key_path' => ['/a~b', "/a\n", 1],
      'backend_tls.ca_cert_path' => ['/', 1],
    }.each do |name, values|
      values.each do |value|
        properties = Manifests.with(Manifests.librarian, name, value)
        expect { config(properties) }.to raise_error(/\A#{name}[:\[]/), value.inspect
        expect(schema('librarian').errors(bound('librarian', properties))).to include(start_with(name)), value.inspect
      end
    end
    expect(schema('librarian').errors(bound('librarian', {}))).to be_empty
    expect(schema('librarian').errors(bound('librarian', { 'frontend_tls_keypairs' => pairs }))).to be_empty
  end

  it 'describes its properties, and its schema has the same' do
    properties = job_spec('librarian').fetch('properties')
    expect(properties.values.map { |definition| definition['description'] }).to all(match(/\S/))
    document = JSON.parse(File.read(File.join(ROOT, 'jobs/librarian/properties_schema.json')))
    expect(Bounds.leaves(document).keys).to match_array(properties.keys)
  end

  it 'has no process' do
    expect(File.read(File.join(ROOT, 'jobs/librarian/monit'))).to eq('')
  end

  it 'writes the certificates before the proxies start, with the daemon itself' do
    properties = { 'frontend_tls_keypairs' => pairs, 'istio_cert_root_path' => '/var/vcap/data/istio' }
    deploy('librarian', properties) do |vcap|
      FileUtils.mkdir_p(File.join(vcap, 'data'))
      out, err, status = run_script(vcap, 'librarian', 'bin/pre-start')
      expect(status).to be_success, out + err
      expect(File.read(File.join(vcap, 'data/istio/one.example.com/tls.crt'))).to eq(pairs[0]['cert_chain'])
      expect(File.read(File.join(vcap, 'data/istio/*.two.example.com/tls.key'))).to eq(pairs[1]['private_key'])
    end
  end

  it 'fails the deployment when one cannot be written' do
    other_key = pairs[1].merge('private_key' => pairs[0]['private_key'])
    properties = { 'frontend_tls_keypairs' => [pairs[0], other_key], 'istio_cert_root_path' => '/var/vcap/data/istio' }
    deploy('librarian', properties) do |vcap|
      FileUtils.mkdir_p(File.join(vcap, 'data'))
      out, _, status = run_script(vcap, 'librarian', 'bin/pre-start')
      expect(status).not_to be_success
      expect(out).to include('TLSPems[1]')
    end
  end
end
