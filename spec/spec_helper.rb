# Specs of the BOSH release: what a Director renders, what the scripts do, and that the daemon takes it.
# They need the daemon's binary: `cargo build`, or COPILOT_BINARY.

# Whatever the locale: texts are UTF-8.
Encoding.default_external = Encoding::UTF_8

require 'digest'
require 'fileutils'
require 'json'
require 'open3'
require 'socket'
require 'tmpdir'
require 'yaml'

# Named, never guessed: the project's own, or with COPILOT_RENDERER that of BOSH, as the gem bosh-template that it was or
# from the Director's sources that it is now in (RUBYLIB=BOSH/src/bosh-common/lib).
RENDERER = ENV.fetch('COPILOT_RENDERER', 'project')
case RENDERER
when 'project' then require_relative 'support/bosh_template'
when 'gem' then require 'bosh/template/test'
when 'director'
  require 'bosh/common/template/test'
  Bosh::Template = Bosh::Common::Template
else abort "COPILOT_RENDERER is #{RENDERER}, not project, gem or director"
end
require_relative 'support/json_schema'
require_relative 'support/loopback'
require_relative 'support/manifests'

ROOT = File.expand_path('..', __dir__)
COPILOT = File.expand_path(ENV.fetch('COPILOT_BINARY', 'target/debug/copilot'), ROOT)

module Jobs
  Test = Bosh::Template::Test

  # Read once: most specs render everything.
  JOBS = Hash.new { |all, job| all[job] = Test::ReleaseDir.new(ROOT).job(job) }
  SPECS = Hash.new { |all, job| all[job] = YAML.safe_load(File.read(File.join(ROOT, 'jobs', job, 'spec'))) }

  def job_spec(job) = SPECS[job]
  def schema(job) = JsonSchema.new(JSON.parse(File.read(File.join(ROOT, 'jobs', job, 'properties_schema.json'))))

  def render(job, path, properties, links: [], **spec)
    JOBS[job].template(path).render(properties, spec: Test::InstanceSpec.new(**spec), consumes: links)
  end

  def render_all(job, properties, links: [])
    job_spec(job).fetch('templates').values.to_h { |path| [path, render(job, path, properties, links: links)] }
  end

  def link(name, properties) = Test::Link.new(name: name, properties: properties)

  # What a Director hands to the schema: every property of the job, null where neither manifest nor job has a value.
  def bound(job, properties)
    job_spec(job).fetch('properties').each_with_object({}) do |(name, definition), all|
      value = Nested.get(properties, name)
      Nested.set(all, name, value.nil? ? definition['default'] : value)
    end
  end

  # Renders the whole job below a folder that stands for /var/vcap, and yields that.
  def deploy(job, properties, links: [])
    Dir.mktmpdir do |vcap|
      render_all(job, properties, links: links).each do |path, content|
        target = File.join(vcap, 'jobs', job, path)
        FileUtils.mkdir_p(File.dirname(target))
        File.write(target, content.gsub('/var/vcap', vcap))
      end
      FileUtils.mkdir_p(File.join(vcap, 'packages/copilot/bin'))
      FileUtils.ln_s(COPILOT, File.join(vcap, 'packages/copilot/bin/copilot'))
      yield vcap
    end
  end

  # What the daemon itself says of the config of the job copilot, with its exit status.
  def check(properties, links: [])
    deploy('copilot', properties, links: links) do |vcap|
      Open3.capture2e(COPILOT, 'check', '--config', File.join(vcap, 'jobs/copilot/config/copilot.json'))
    end
  end

  # A script as the agent runs it: with nothing of this environment but the path.
  def run_script(vcap, job, script)
    Open3.capture3({ 'PATH' => ENV.fetch('PATH') }, 'bash', File.join(vcap, 'jobs', job, script), unsetenv_others: true)
  end
end

# What a job's schema says of single properties.
module Bounds
  def self.leaves(schema, at = [])
    schema.fetch('properties').reduce({}) do |all, (name, inner)|
      all.merge(inner['type'] == 'object' ? leaves(inner, at + [name]) : { (at + [name]).join('.') => inner })
    end
  end

  # The least and the most of every whole number.
  def self.of(job)
    schema = JSON.parse(File.read(File.join(ROOT, 'jobs', job, 'properties_schema.json')))
    leaves(schema).transform_values { |inner| inner.values_at('minimum', 'maximum') }.reject { |_, bounds| bounds.include?(nil) }
  end
end

RSpec.configure do |config|
  config.include Jobs
  config.disable_monkey_patching!
  config.before(:suite) { config.reporter.message("templates are rendered by: #{RENDERER}") }
  config.before(:suite) { abort "no #{COPILOT}: run `cargo build`, or set COPILOT_BINARY" unless File.executable?(COPILOT) }
end
