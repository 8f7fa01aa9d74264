require_relative 'spec_helper'
require 'ostruct'

# The project's renderer, or the gem: what the templates rely on.
RSpec.describe 'the renderer' do
  around do |example|
    Dir.mktmpdir do |dir|
      @dir = dir
      example.run
    end
  end

  SPEC = {
    'name' => 'job', 'templates' => { 'file.erb' => 'config/file' },
    'consumes' => [{ 'name' => 'peer', 'type' => 'peer', 'optional' => true }],
    'properties' => {
      'a.b' => { 'default' => 'default' }, 'a.unset' => {}, 'flag' => { 'default' => true }, 'hash' => {}
    }
  }.freeze

  def result(template, properties = {}, links: {}, **spec)
    FileUtils.mkdir_p(File.join(@dir, 'jobs/job/templates'))
    File.write(File.join(@dir, 'jobs/job/spec'), SPEC.to_yaml)
    File.write(File.join(@dir, 'jobs/job/templates/file.erb'), template)
    consumes = links.map { |name, with| Jobs::Test::Link.new(name: name, properties: with) }
    Jobs::Test::ReleaseDir.new(@dir).job('job').template('config/file')
               .render(properties, spec: Jobs::Test::InstanceSpec.new(**spec), consumes: consumes)
  end

  it 'gives the value of the manifest, or the default' do
    expect(result("<%= p('a.b') %>")).to eq('default')
    expect(result("<%= p('a.b') %>", { 'a' => { 'b' => 'own' } })).to eq('own')
    expect(result("<%= p('a.b') %>", { 'a' => { 'b' => nil } })).to eq('default')
  end

  it 'takes false for a value' do
    expect(result("<%= p('flag') %> <% if_p('flag') { |flag| %>is <%= flag %><% } %>", { 'flag' => false })).to eq('false is false')
  end

  it 'knows no properties but those of the job' do
    expect { result("<%= p('other') %>", { 'other' => 1 }) }.to raise_error(Bosh::Template::UnknownProperty, /other/)
  end

  it 'raises for what is not set, unless the template has a value' do
    expect { result("<%= p('a.unset') %>") }.to raise_error(Bosh::Template::UnknownProperty, /a\.unset/)
    expect(result("<%= p('a.unset', 'last') %>")).to eq('last')
    expect(result("<%= p('a.unset', nil).inspect %>")).to eq('nil')
    expect(result("<%= p(['a.unset', 'a.b']) %>")).to eq('default')
  end

  it 'calls the block of the first condition that holds' do
    chain = "<% if_p('a.unset') do |x| %>1<%= x %><% end.else_if_p('hash') do |x| %>2<%= x['k'] %><% end.else do %>3<% end %>"
    expect(result(chain, { 'a' => { 'unset' => 'x' }, 'hash' => { 'k' => 'v' } })).to eq('1x')
    expect(result(chain, { 'hash' => { 'k' => 'v' } })).to eq('2v')
    expect(result(chain)).to eq('3')
  end

  it 'wants all of several properties' do
    both = "<% if_p('a.b', 'a.unset') do |b, unset| %><%= b + unset %><% end.else do %>no<% end %>"
    expect(result(both, { 'a' => { 'unset' => '!' } })).to eq('default!')
    expect(result(both)).to eq('no')
  end

  it 'gives the properties of a link' do
    links = { 'peer' => { 'port' => { 'tls' => 1234 } } }
    expect(result("<%= link('peer').p('port.tls') %>", links: links)).to eq('1234')
    expect(result("<% if_link('peer') do |peer| %><%= peer.p('other', 'none') %><% end.else do %>no link<% end %>", links: links)).to eq('none')
    expect(result("<% if_link('peer') do |peer| %>link<% end.else do %>no link<% end %>")).to eq('no link')
    expect { result("<%= link('peer').p('x') %>") }.to raise_error(Bosh::Template::UnknownLink, /peer/)
  end

  it 'has no links that the job does not consume' do
    expect { result('', links: { 'stranger' => {} }) }.to raise_error(/stranger/)
  end

  it 'knows the instance' do
    expect(result('<%= spec.id %> <%= spec.index %> <%= spec.ip %> <%= index %>', id: 'x', index: 2, ip: '10.0.0.1')).to eq('x 2 10.0.0.1 2')
    expect(result('<%= spec.nothing.inspect %>')).to eq('nil')
  end

  it 'trims lines that ask for it, and starts afresh for each file' do
    expect(result("<%- @x = 1 -%>\nline <%= defined?(@y).inspect %>\n<% @y = 1 -%>\n")).to eq("line nil\n")
    expect(result('<%= defined?(@y).inspect %>')).to eq('nil')
  end

  it 'finds a template by where it goes' do
    result('')
    expect { Jobs::Test::ReleaseDir.new(@dir).job('job').template('file.erb') }.to raise_error(/file\.erb/)
  end
end
