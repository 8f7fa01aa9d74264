# frozen_string_literal: true

require 'open3'
require 'tempfile'
require 'yaml'
require_relative 'spec_helper'
require_relative 'support/ops_file'
require_relative 'support/pki'

# The ops files in deploy/operations, on a manifest of the shape of cf-deployment's.
module Deploy
  ROOT = File.expand_path('..', __dir__)
  OPERATIONS = File.join(ROOT, 'deploy', 'operations')
  FIXTURES = File.join(ROOT, 'spec', 'fixtures')
  CF = File.join(FIXTURES, 'cf-deployment.yml')
  # Not ours: what others add to cf-deployment.
  FOREIGN = {
    'istio-release' => 'add-istio-release', 'no-pilot-on-cells' => 'remove-pilot-from-cells',
    'isolated-cells' => 'add-isolated-cells', 'windows-cells' => 'add-windows-cells',
    'operator-certificates' => 'use-operator-certificates', 'one-az' => 'scale-to-one-az', 'renamed' => 'rename-network'
  }.transform_values { |name| File.join(FIXTURES, "#{name}.yml") }.freeze

  # A checkout of cf-deployment, and its own ops files in the place of those that stand for them.
  CHECKOUT = ENV.fetch('CF_DEPLOYMENT', nil)
  CHECKED_OUT = {
    'operator-certificates' => 'operations/use-operator-provided-router-tls-certificates.yml',
    'one-az' => 'operations/scale-to-one-az.yml', 'renamed' => 'operations/rename-network-and-deployment.yml',
    'windows-cells' => 'operations/windows2019-cell.yml',
    'isolated-cells' => 'operations/add-persistent-isolation-segment-diego-cell.yml'
  }.freeze

  COMBINATIONS = [
    %w[add-copilot],
    %w[add-copilot add-router-certificates],
    %w[add-copilot enable-xds],
    %w[add-copilot routes-from-push],
    %w[add-copilot add-router-certificates enable-xds],
    %w[add-copilot add-router-certificates enable-xds routes-from-push],
    %w[add-copilot add-router-certificates prepare-backend-tls],
    %w[add-copilot add-router-certificates prepare-backend-tls enable-backend-tls enable-xds],
    %w[isolated-cells windows-cells add-copilot add-router-certificates prepare-backend-tls
       prepare-backend-tls-isolated-cells prepare-backend-tls-windows-cells enable-backend-tls],
    %w[operator-certificates add-copilot add-operator-provided-router-certificates],
    %w[operator-certificates add-copilot add-operator-provided-router-certificates prepare-backend-tls enable-backend-tls],
    %w[one-az renamed add-copilot add-router-certificates scale-to-one-az rename-network],
    %w[istio-release beside-istio-release],
    %w[istio-release beside-istio-release move-pilot move-pilot-on-cells],
    %w[istio-release no-pilot-on-cells beside-istio-release move-pilot]
  ].freeze

  # Links that jobs of other releases offer without a word in the manifest.
  FOREIGN_LINKS = {
    'cloud_controller_ng' => %w[cloud_controller cloud_controller_https_endpoint],
    ['istio', 'copilot'] => %w[mcp_conn cloud_controller_to_copilot_conn vip_resolver_conn frontend_tls_keypairs]
  }.freeze

  # What the jobs cannot do without, beyond what depends on the source of the routes.
  MANDATORY = %w[
    pilot_client_ca_cert server_cert server_key
    bbs.server_ca_cert bbs.client_cert bbs.client_key
    policy_server.server_ca_cert policy_server.client_cert policy_server.client_key
  ].freeze
  MANDATORY_BY_SOURCE = {
    'capi' => %w[mesh_domains uaa.client_secret],
    'push' => %w[cloud_controller_client_ca_cert]
  }.freeze
  ONLY_FOR_POLLING = %w[mesh_domains uaa.client_secret].freeze

  module_function

  def paths(names)
    names.map { |name| FOREIGN.fetch(name) { File.join(OPERATIONS, "#{name}.yml") } }
  end

  def base
    OpsFile.load_yaml(CF)
  end

  def apply(names)
    change(base, paths(names))
  end

  def change(manifest, paths)
    paths.reduce(manifest) { |result, path| OpsFile.new(path).apply(result) }
  end

  # The same on the checkout.
  def apply_there(names)
    paths = names.zip(paths(names)).map do |name, path|
      CHECKED_OUT.key?(name) ? File.join(CHECKOUT, CHECKED_OUT[name]) : path
    end
    change(OpsFile.load_yaml(File.join(CHECKOUT, 'cf-deployment.yml')), paths)
  end

  # Without what is in a list of a cell a second time, which makes no difference there.
  def without_doubles(node, key = nil)
    case node
    when Hash then node.to_h { |name, value| [name, without_doubles(value, name)] }
    when Array
      items = node.map { |value| without_doubles(value) }
      %w[trusted_ca_certificates verify_subject_alt_name].include?(key) ? items.uniq : items
    else node
    end
  end

  # What is referred to and declared nowhere.
  def undeclared(manifest)
    references(manifest).uniq - manifest['variables'].map { |variable| variable['name'] }
  end

  def job_spec(job)
    path = File.join(ROOT, 'jobs', job, 'spec')
    OpsFile.load_yaml(path) if File.exist?(path)
  end

  # Every ((name)) or ((name.field)) in what is not a variable's name.
  def references(node)
    case node
    when Hash then node.values.flat_map { |value| references(value) }
    when Array then node.flat_map { |value| references(value) }
    when String then node.scan(/\(\(!?([^().]+)(?:\.[^()]+)?\)\)/).flatten
    else []
    end
  end

  # The table under "Inputs" in the README.
  def documented_inputs
    section = File.read(File.join(ROOT, 'deploy', 'README.md'))[/^## Inputs$(.*?)^## /m, 1]
    section.scan(/^\| `([^`]+)` \|/).flatten
  end

  # The names that a job's properties are set by: as deep as its spec declares them.
  def property_names(properties, declared, prefix = nil)
    properties.flat_map do |key, value|
      name = [prefix, key].compact.join('.')
      if declared.include?(name) || !value.is_a?(Hash)
        [name]
      else
        property_names(value, declared, name)
      end
    end
  end

  # Every template of a job, with something of the right kind in the place of each variable.
  def render(job, copilot)
    properties = fill(job['properties'] || {})
    consumes = (job['consumes'] || {}).reject { |_, link| link == 'nil' }.keys.map do |name|
      Bosh::Template::Test::Link.new(name: name, properties: link_properties(name, copilot))
    end
    template_of = Bosh::Template::Test::ReleaseDir.new(ROOT).job(job['name'])
    job_spec(job['name'])['templates'].values.to_h do |path|
      [path, template_of.template(path).render(properties, consumes: consumes)]
    end
  end

  def link_properties(name, copilot)
    case name
    when 'cloud_controller_https_endpoint'
      { 'cc' => { 'internal_service_hostname' => 'cloud-controller-ng.service.cf.internal',
                  'public_tls' => { 'port' => 9024, 'ca_cert' => Pki.ca('cc') } } }
    when 'frontend_tls_keypairs'
      { 'frontend_tls_keypairs' => fill(copilot.dig('properties', 'frontend_tls_keypairs')) }
    end
  end

  def fill(node)
    case node
    when Hash then node.transform_values { |value| fill(value) }
    when Array then node.map { |value| fill(value) }
    when '((router_tls_pem))' then [Manifests.keypair('router.example.com')]
    when /\A\(\((.+)\.certificate\)\)\z/ then Pki.certificate(Regexp.last_match(1))
    when /\A\(\((.+)\.private_key\)\)\z/ then Pki.key(Regexp.last_match(1))
    when /\A\(\((.+)\.ca\)\)\z/ then Pki.ca(Regexp.last_match(1))
    when String then node.gsub('((system_domain))', 'sys.example.com').gsub(/\(\(([^()]+)\)\)/, 'secret')
    else node
    end
  end

  def dig(properties, name)
    name.split('.').reduce(properties) { |node, key| node.is_a?(Hash) ? node[key] : nil }
  end
end

RSpec.describe 'deploy/operations' do
  def jobs_with_groups
    manifest['instance_groups'].flat_map { |group| group['jobs'].map { |job| [group, job] } }
  end

  def ours
    jobs_with_groups.select { |_, job| job['release'] == 'copilot' }
  end

  def copilots
    ours.map(&:last).select { |job| job['name'] == 'copilot' }
  end

  # [name, original name] of what a job offers for others to find.
  def offered(job)
    own = job['release'] == 'copilot' && Deploy.job_spec(job['name'])
    originals = own ? (own['provides'] || []).map { |link| link['name'] } : foreign_or_planned(job)
    changes = job['provides'] || {}
    originals.reject { |name| changes[name] == 'nil' }
             .map { |name| [changes.dig(name, 'as') || name, name] }
  end

  def foreign_or_planned(job)
    return Deploy::FOREIGN_LINKS[%w[istio copilot]] if job['name'] == 'copilot'

    Deploy::FOREIGN_LINKS.fetch(job['name'], [])
  end

  it 'has a test for each file' do
    files = Dir[File.join(Deploy::OPERATIONS, '*.yml')].map { |path| File.basename(path, '.yml') }
    tested = Deploy::COMBINATIONS.flatten.uniq - Deploy::FOREIGN.keys + ['add-bpm-job']
    expect(tested).to match_array(files)
  end

  it 'describes each file' do
    readme = File.read(File.join(Deploy::ROOT, 'deploy', 'README.md'))
    Dir[File.join(Deploy::OPERATIONS, '*.yml')].each do |path|
      expect(readme).to include("`operations/#{File.basename(path)}`")
    end
  end

  it 'adds bpm where it is no addon, and the Director would refuse it where it is one' do
    before = Deploy.apply(%w[add-copilot])
    after = OpsFile.new(File.join(Deploy::OPERATIONS, 'add-bpm-job.yml')).apply(before)
    group = ->(manifest) { manifest['instance_groups'].find { |one| one['name'] == 'istio-control' } }
    names = ->(manifest) { group.call(manifest)['jobs'].map { |job| job['name'] } }
    expect(names.call(before)).to eq(%w[copilot])
    expect(names.call(after)).to eq(%w[copilot bpm])
    expect(before['addons'].flat_map { |addon| addon['jobs'] }.map { |job| job['name'] }).to include('bpm')
  end

  it 'is read by the CLI as by these tests' do
    skip 'there is no bosh CLI' unless system('command -v bosh > /dev/null 2>&1')
    Deploy::COMBINATIONS.each do |names|
      operations = Deploy.paths(names).flat_map { |path| ['-o', path] }
      output, status = Open3.capture2('bosh', 'int', Deploy::CF, *operations)
      expect(status).to be_success
      expect(YAML.safe_load(output)).to eq(Deploy.apply(names)), names.join(', ')
    end
  end

  Deploy::COMBINATIONS.each do |names|
    context "with #{names.join(', ')}" do
      let(:manifest) { Deploy.apply(names) }
      let(:before) { Deploy.apply(names & Deploy::FOREIGN.keys) }
      let(:variables) { manifest['variables'].to_h { |variable| [variable['name'], variable] } }
      let(:added) { variables.keys - before['variables'].map { |variable| variable['name'] } }

      it 'leaves no variable undeclared' do
        expect(Deploy.undeclared(manifest) - Deploy.documented_inputs).to eq([])
      end

      it 'is the same when its files are applied twice' do
        own = Deploy.paths(names - Deploy::FOREIGN.keys)
        settled = Deploy.without_doubles(manifest)
        [own + own, own.flat_map { |path| [path, path] }].each do |paths|
          expect(Deploy.without_doubles(Deploy.change(before, paths))).to eq(settled)
        end
      end

      it 'declares each variable once, and uses it' do
        expect(manifest['variables'].map { |variable| variable['name'] }.tally.values.max).to eq(1)
        authorities = variables.values.filter_map { |variable| variable.dig('options', 'ca') }
        expect(added - Deploy.references(manifest) - authorities).to eq([])
      end

      it 'has each certificate signed by a CA that there is' do
        added.map { |name| variables[name] }.select { |one| one['type'] == 'certificate' }.each do |certificate|
          options = certificate['options']
          next if options['is_ca']

          expect(variables.dig(options['ca'], 'options', 'is_ca')).to be(true), "the CA of #{certificate['name']}"
          expect(options['alternative_names']).to include(options['common_name']), certificate['name']
          expect(options['extended_key_usage']).to eq(['client_auth']).or(eq(['server_auth'])), certificate['name']
        end
      end

      it 'presents certificates that are made for it' do
        usage = lambda do |reference|
          name = reference[/\(\((.+)\.certificate\)\)/, 1]
          variables.dig(name, 'options', 'extended_key_usage')
        end
        copilots.each do |job|
          properties = job['properties']
          servers = [properties['server_cert'], properties.dig('xds', 'server_cert')].compact
          clients = %w[bbs policy_server].map { |peer| properties.dig(peer, 'client_cert') }
          expect(servers.map(&usage)).to all(eq(['server_auth']))
          expect(clients.map(&usage)).to all(eq(['client_auth']))
        end
      end

      it 'takes the key and the certificate of a pair from one variable' do
        pairs = ours.flat_map { |_, job| pairs_of(job['properties'] || {}) }
        expect(pairs).not_to be_empty
        pairs.each { |certificate, key| expect(key).to eq(certificate.sub('.certificate))', '.private_key))')) }
      end

      def pairs_of(node)
        return node.flat_map { |one| pairs_of(one) } if node.is_a?(Array)
        return [] unless node.is_a?(Hash)

        names = [%w[server_cert server_key], %w[client_cert client_key], %w[cert_chain private_key]]
        here = names.filter_map { |pair| node.values_at(*pair) if node.key?(pair.first) }
        here + node.values.flat_map { |value| pairs_of(value) }
      end

      it 'has the alias, the address in the link and the certificates agree' do
        copilots.each do |job|
          properties = job['properties']
          domains = job['provides'].values.grep(Hash).flat_map { |link| link['aliases'] || [] }
          address = properties['dns_address_for_mcp'] || 'copilot.service.cf.internal'
          expect(domains.map { |one| one['domain'] }).to eq([address])
          expect(domains.first).to include('health_filter' => 'smart', 'initial_health_check' => 'synchronous')
          [properties['server_cert'], properties.dig('xds', 'server_cert')].compact.each do |reference|
            name = reference[/\(\((.+)\.certificate\)\)/, 1]
            expect(variables.dig(name, 'options', 'alternative_names')).to include(address)
          end
        end
      end

      it 'uses each alias, UAA client and job of a group once' do
        aliases = jobs_with_groups.flat_map do |_, job|
          (job['provides'] || {}).values.grep(Hash).flat_map { |link| link['aliases'] || [] }
        end
        expect(aliases.map { |one| one['domain'] }).to eq(aliases.map { |one| one['domain'] }.uniq)
        addons = manifest['addons'].flat_map { |addon| addon['jobs'] }.map { |job| job['name'] }
        manifest['instance_groups'].each do |group|
          all = group['jobs'].map { |job| job['name'] } + addons
          expect(all).to eq(all.uniq), "jobs of #{group['name']}"
        end
        expect(manifest['instance_groups'].map { |group| group['name'] }.tally.values.max).to eq(1)
      end

      it 'names releases, stemcells and vm types that there are' do
        releases = manifest['releases'].map { |release| release['name'] }
        expect(releases).to eq(releases.uniq)
        ours.each do |group, job|
          expect(releases).to include(job['release'])
          expect(manifest['stemcells'].map { |stemcell| stemcell['alias'] }).to include(group['stemcell'])
          expect(Deploy.base['instance_groups'].map { |one| one['vm_type'] }).to include(group['vm_type'])
        end
      end

      it 'updates copilots one after the other' do
        skip 'there is one' if names.include?('scale-to-one-az')
        groups = ours.select { |_, job| job['name'] == 'copilot' }.map(&:first)
        groups.each do |group|
          expect(group['instances']).to be >= 2
          expect(group['update']).to include('serial' => true, 'max_in_flight' => 1, 'canaries' => 1)
        end
      end

      it 'consumes links that are offered, and offers none twice' do
        by_name = jobs_with_groups.flat_map { |_, job| offered(job) }
        expect(by_name.map(&:first)).to eq(by_name.map(&:first).uniq)
        jobs_with_groups.each do |_, job|
          (job['consumes'] || {}).each_value do |link|
            next if link == 'nil'

            expect(by_name.map(&:first)).to include(link['from'])
          end
        end
      end

      it 'leaves no consumer of another release to choose between two providers' do
        originals = jobs_with_groups.flat_map { |_, job| offered(job) }.map(&:last)
        doubled = originals.tally.select { |_, count| count > 1 }.keys
        pilots = jobs_with_groups.map(&:last).select { |job| job['name'] == 'pilot-discovery' }
        explicit = pilots.any? && pilots.all? { |job| job.dig('consumes', 'mcp_conn', 'from') }
        expect(doubled - (explicit ? ['mcp_conn'] : [])).to eq([])
      end

      it 'sets what the jobs cannot do without' do
        copilots.each do |job|
          properties = job['properties']
          source = properties['routes_source'] || 'capi'
          expected = Deploy::MANDATORY + Deploy::MANDATORY_BY_SOURCE.fetch(source)
          expect(expected.select { |name| Deploy.dig(properties, name).nil? }).to eq([])
          superfluous = source == 'push' ? Deploy::ONLY_FOR_POLLING : []
          expect(superfluous.reject { |name| Deploy.dig(properties, name).nil? }).to eq([])
          next unless source == 'capi'

          linked = job.dig('consumes', 'cloud_controller_https_endpoint') != 'nil'
          expect(linked || Deploy.dig(properties, 'capi.address')).to be_truthy
        end
      end

      it 'gives UAA the client that is used' do
        clients = manifest['instance_groups'].find { |group| group['name'] == 'uaa' }
                                             .dig('jobs', 0, 'properties', 'uaa', 'clients')
        used = copilots.filter_map { |job| job.dig('properties', 'uaa') }
        used.each do |uaa|
          client = clients.fetch(uaa['client_name'])
          expect(client['secret']).to eq(uaa['client_secret'])
          expect(client['authorities']).to eq('cloud_controller.admin_read_only')
          expect(client['authorized-grant-types']).to eq('client_credentials')
        end
        added_clients = clients.keys - ['network-policy']
        expect(added_clients).to match_array(used.map { |uaa| uaa['client_name'] })
      end

      it 'renders' do
        ours.each do |_, job|
          rendered = Deploy.render(job, copilots.first)
          expect(rendered.keys).to include('config/copilot.json').or(include('config/librarian.json'))
        end
      end

      it 'sets properties and links that the jobs declare' do
        ours.each do |_, job|
          spec = Deploy.job_spec(job['name'])
          skip "jobs/#{job['name']}/spec is not there" unless spec
          declared = (spec['properties'] || {}).keys
          expect(Deploy.property_names(job['properties'] || {}, declared) - declared).to eq([])
          custom = (job['custom_provider_definitions'] || []).map { |link| link['name'] }
          provided = (spec['provides'] || []).map { |link| link['name'] } + custom
          expect((job['provides'] || {}).keys - provided).to eq([])
          consumed = (spec['consumes'] || []).map { |link| link['name'] }
          expect((job['consumes'] || {}).keys - consumed).to eq([])
        end
      end
    end
  end

  context 'on a checkout of cf-deployment' do
    before { skip 'CF_DEPLOYMENT names none' unless Deploy::CHECKOUT }

    Deploy::COMBINATIONS.each do |names|
      it "refers to nothing that is not there, with #{names.join(', ')}" do
        before, after = [names & Deploy::FOREIGN.keys, names].map { |some| Deploy.apply_there(some) }
        unknown = Deploy.undeclared(after) - Deploy.undeclared(before) - Deploy.documented_inputs
        expect(unknown).to eq([])
        networks = after['instance_groups'].map { |group| group['networks'].map { |network| network['name'] } }
        expect(networks.uniq.length).to eq(1)
      end
    end
  end

  context 'scaled to one zone, in a renamed network' do
    let(:manifest) { Deploy.apply(%w[one-az renamed add-copilot add-router-certificates scale-to-one-az rename-network]) }

    it 'has nobody in another zone or network' do
      manifest['instance_groups'].each do |group|
        expect(group).to include('azs' => ['z1'], 'instances' => 1, 'networks' => [{ 'name' => '((network_name))' }])
      end
    end
  end

  context 'with certificates of operators' do
    let(:manifest) { Deploy.apply(%w[operator-certificates add-copilot add-operator-provided-router-certificates]) }

    it 'has copilot and librarian take what the gorouter takes' do
      gorouter = manifest['instance_groups'].find { |group| group['name'] == 'router' }['jobs'].first
      expect(copilots.first.dig('properties', 'frontend_tls_keypairs')).to eq(gorouter.dig('properties', 'router', 'tls_pem'))
      expect(ours.map { |_, job| job['name'] }).to contain_exactly('copilot', 'librarian')
    end

    it 'would refer to a certificate that is gone with the other file' do
      wrong = Deploy.apply(%w[operator-certificates add-copilot add-router-certificates])
      expect(Deploy.undeclared(wrong) - Deploy.documented_inputs).to eq(['router_ssl'])
    end
  end

  context 'beside istio-release' do
    let(:manifest) { Deploy.apply(%w[istio-release beside-istio-release]) }
    let(:before) { Deploy.apply(%w[istio-release]) }

    it 'leaves everything of the old one as it is' do
      before['instance_groups'].each do |group|
        next if group['name'] == 'uaa'

        expect(manifest['instance_groups']).to include(group)
      end
      expect(before['variables'] - manifest['variables']).to eq([])
    end

    it 'listens on other ports than the old one' do
      properties = copilots.first['properties']
      ports = [properties['listen_port_for_mcp'], properties['listen_port_for_vip_resolver'],
               properties.dig('admin', 'port')]
      expect(ports.compact.size).to eq(3)
      expect(ports & [9009, 9001, 9002, 9003]).to eq([])
    end
  end

  context 'with certificates for the router' do
    let(:manifest) { Deploy.apply(%w[add-copilot add-router-certificates]) }

    it 'gives librarian the pairs of copilot' do
      group, librarian = ours.find { |_, job| job['name'] == 'librarian' }
      expect(group['name']).to eq('router')
      expect(librarian.dig('consumes', 'frontend_tls_keypairs', 'from')).to eq('frontend_tls_keypairs')
      pairs = copilots.first.dig('properties', 'frontend_tls_keypairs')
      expect(pairs).to eq(manifest['instance_groups'].find { |one| one['name'] == 'router' }
                                  .dig('jobs', 0, 'properties', 'router', 'tls_pem'))
    end
  end

  context 'with TLS to instances' do
    names = Deploy::COMBINATIONS.find { |one| one.include?('prepare-backend-tls-windows-cells') }
    let(:manifest) { Deploy.apply(names) }
    let(:before) { Deploy.apply(names & Deploy::FOREIGN.keys) }
    let(:client) do
      variable = manifest['variables'].find { |one| one['name'] == 'copilot_backend_client' }
      variable.dig('options', 'alternative_names')
    end
    let(:librarian) { ours.map(&:last).find { |job| job['name'] == 'librarian' } }

    def proxies(manifest)
      cells = manifest['instance_groups'].flat_map do |group|
        group['jobs'].select { |job| %w[rep rep_windows].include?(job['name']) }.map { |job| [group['name'], job] }
      end
      cells.to_h { |name, job| [name, job.dig('properties', 'containers', 'proxy') || {}] }
    end

    it 'has every cell trust what the proxies present, and everyone that it trusted' do
      expect(proxies(manifest).keys).to contain_exactly('diego-cell', 'isolated-diego-cell', 'windows2019-cell')
      proxies(manifest).each do |name, proxy|
        known = proxies(before)[name]
        cas, sans = proxy.values_at('trusted_ca_certificates', 'verify_subject_alt_name')
        expect(cas).to include('((copilot_backend_client.ca))', '((gorouter_backend_tls.ca))', *known['trusted_ca_certificates']), name
        expect(sans).to include('gorouter.service.cf.internal', *client, *known['verify_subject_alt_name']), name
        expect(proxy.except('trusted_ca_certificates', 'verify_subject_alt_name'))
          .to eq(known.except('trusted_ca_certificates', 'verify_subject_alt_name')), name
      end
    end

    it 'has the proxies present it, and trust whom the gorouter trusts' do
      backend = librarian.dig('properties', 'backend_tls')
      expect(backend).to include('client_cert' => '((copilot_backend_client.certificate))')
      gorouter = manifest['instance_groups'].find { |group| group['name'] == 'router' }['jobs'].first
      expect(gorouter.dig('properties', 'router', 'ca_certs')).to include(backend['ca_cert'])
      expect(librarian['properties']).to include('proxy_group' => 'vcap')
    end

    it 'has a certificate for clients alone, which is made anew when its names change' do
      client = manifest['variables'].find { |variable| variable['name'] == 'copilot_backend_client' }
      expect(client).to include('update_mode' => 'converge')
      expect(client['options']).to include('extended_key_usage' => ['client_auth'])
    end

    it 'changes nothing for copilot before it is enabled, and its mode alone then' do
      copilot = ->(names) { Deploy.apply(names)['instance_groups'].find { |one| one['name'] == 'istio-control' }['jobs'].first }
      prepared = copilot.call(names - ['enable-backend-tls'])
      expect(prepared).to eq(copilot.call(%w[add-copilot add-router-certificates]))
      enabled = copilot.call(names)
      expect(enabled['properties'].except('backend_tls')).to eq(prepared['properties'])
      expect(enabled.dig('properties', 'backend_tls')).to eq('mode' => 'mutual')
    end

    it 'updates copilot last, when cells and routers are prepared' do
      order = manifest['instance_groups'].map { |group| group['name'] }
      expect(order.last).to eq('istio-control')
      expect(manifest['instance_groups'].last['update']).to include('serial' => true)
    end
  end

  context 'with pushed routes' do
    let(:manifest) { Deploy.apply(%w[add-copilot routes-from-push]) }

    it 'lets Cloud Controller push and nobody else' do
      variables = manifest['variables'].to_h { |variable| [variable['name'], variable] }
      properties = copilots.first['properties']
      names = ->(name) { variables.dig(name, 'options', 'alternative_names') }
      expect(properties['allowed_cloud_controller_names']).to eq(names.call('copilot_cloud_controller_client'))
      expect(properties['allowed_pilot_names']).to eq(names.call('copilot_pilot_client'))
    end
  end
end

RSpec.describe OpsFile do
  def apply(manifest, *operations)
    Tempfile.create('ops') do |file|
      file.write(YAML.dump(operations))
      file.flush
      OpsFile.new(file.path).apply(manifest)
    end
  end

  def replace(path, value)
    { 'type' => 'replace', 'path' => path, 'value' => value }
  end

  it 'refuses what is not there' do
    manifest = { 'list' => [{ 'name' => 'a' }], 'map' => {} }
    ['/none/a', '/map/none', '/list/name=b/c', '/map/a/b?'].each do |path|
      expect { apply(manifest, replace(path, 1)) }.to raise_error(OpsFile::Error, /there is no/)
    end
    remove = { 'type' => 'remove', 'path' => '/map/none' }
    expect { apply(manifest, remove) }.to raise_error(OpsFile::Error, /there is no none/)
  end

  it 'makes what may be missing' do
    expect(apply({}, replace('/a?/b/c', 1))).to eq('a' => { 'b' => { 'c' => 1 } })
    expect(apply({}, replace('/a?/-', 1))).to eq('a' => [1])
    expect(apply({ 'a' => [] }, replace('/a/name=x?/y', 1))).to eq('a' => [{ 'name' => 'x', 'y' => 1 }])
  end

  it 'replaces, appends and removes' do
    manifest = { 'a' => [{ 'name' => 'x' }, { 'name' => 'y' }] }
    expect(apply(manifest, replace('/a/name=x', 1))['a'].first).to eq(1)
    expect(apply(manifest, replace('/a/-', 1))['a'].last).to eq(1)
    expect(apply(manifest, 'type' => 'remove', 'path' => '/a/name=x')).to eq('a' => [{ 'name' => 'y' }])
    expect(manifest['a'].size).to eq(2)
  end

  it 'refuses an item that is there twice' do
    manifest = { 'a' => [{ 'name' => 'x' }, { 'name' => 'x' }] }
    expect { apply(manifest, replace('/a/name=x', 1)) }.to raise_error(OpsFile::Error, /2 items/)
  end
end
