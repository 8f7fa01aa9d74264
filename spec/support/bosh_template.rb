# Renders a job's templates as a Director does, for specs and scripts. The interface is that of the gem bosh-template,
# which has gone into the Director: the specs run with either, as COPILOT_RENDERER says.

require 'erb'
require 'ostruct'
require 'yaml'
require_relative 'nested'

module Bosh
  module Template
    class UnknownProperty < StandardError
      attr_reader :name

      def initialize(names)
        @name = names
        super("Can't find property '#{names}'")
      end
    end

    class UnknownLink < StandardError
      attr_reader :name

      def initialize(name)
        @name = name
        super("Can't find link '#{name}'")
      end
    end

    # Hashes all the way down, for templates that write `spec.networks.default.ip`.
    module Structs
      def self.of(value)
        case value
        when Hash then OpenStruct.new(value.transform_values { |inner| of(inner) })
        when Array then value.map { |inner| of(inner) }
        else value
        end
      end
    end

    # What follows a block that was called: nothing does.
    class Done
      def else = nil
      def else_if_p(*) = self
      def else_if_link(*) = self
    end

    # What follows a block that was not called.
    class Otherwise
      def initialize(context) = @context = context
      def else = yield
      def else_if_p(*names, &block) = @context.if_p(*names, &block)
      def else_if_link(name, &block) = @context.if_link(name, &block)
    end

    # `p` and `if_p`, for jobs and for links. false is a value, nil is none.
    module Properties
      # The old way: `properties.a.b`.
      def properties = @properties ||= Structs.of(raw_properties)

      def p(*args)
        names = Array(args.first)
        names.each do |name|
          value = Nested.get(raw_properties, name)
          return value unless value.nil?
        end
        return args[1] if args.length == 2

        raise UnknownProperty, names
      end

      def if_p(*names)
        values = names.map { |name| Nested.get(raw_properties, name) }
        return Otherwise.new(self) if values.any?(&:nil?)

        yield(*values)
        Done.new
      end
    end

    # A link as templates see it.
    class LinkContext
      include Properties

      attr_reader :instances, :raw_properties
      private :raw_properties

      def initialize(link, template)
        @template = template
        @raw_properties = link.fetch('properties', {})
        @instances = link.fetch('instances', []).map { |instance| LinkInstanceContext.new(instance) }
        @address = link['address']
      end

      def address
        @address || raise(NotImplementedError, 'the link has no address')
      end

      def if_link(name, &block) = @template.if_link(name, &block)
    end

    # An instance at the other end of a link.
    class LinkInstanceContext
      include Properties

      attr_reader :name, :index, :id, :az, :address, :bootstrap, :raw_properties
      private :raw_properties

      def initialize(instance)
        @name, @index, @id, @az, @address, @bootstrap =
          instance.values_at('name', 'index', 'id', 'az', 'address', 'bootstrap')
        @raw_properties = instance.fetch('properties', {})
      end
    end

    # What a template is evaluated in.
    class EvaluationContext
      include Properties

      attr_reader :name, :index, :raw_properties, :spec
      private :raw_properties

      def initialize(spec)
        @name = spec.dig('job', 'name')
        @index = spec['index']
        @raw_properties = spec.fetch('properties', {})
        @links = spec.fetch('links', {})
        @spec = Structs.of(spec.reject { |key, _| %w[properties links].include?(key) })
      end

      def link(name)
        LinkContext.new(@links.fetch(name) { raise UnknownLink, name }, self)
      end

      def if_link(name)
        return Otherwise.new(self) unless @links.key?(name)

        yield link(name)
        Done.new
      end

      def get_binding = binding
    end

    # What specs and scripts call.
    module Test
      class LinkInstance
        def initialize(name: 'peer', id: 'peer-id', index: 0, az: 'z1', address: 'peer.example.com', bootstrap: true,
                       properties: {})
          @fields = { 'name' => name, 'id' => id, 'index' => index, 'az' => az, 'address' => address,
                      'bootstrap' => bootstrap, 'properties' => properties }
        end

        def to_h = @fields
      end

      class Link
        attr_reader :name

        def initialize(name:, instances: [], properties: {}, address: nil)
          @name = name
          @fields = { 'instances' => instances.map(&:to_h), 'properties' => properties, 'address' => address }
        end

        def to_h = @fields
      end

      class InstanceSpec
        def initialize(address: 'copilot-0.example.com', az: 'z1', bootstrap: true, deployment: 'mesh',
                       id: 'f0e1d2c3', index: 0, ip: '192.0.2.10', name: 'copilot', networks: nil)
          @fields = { 'address' => address, 'az' => az, 'bootstrap' => bootstrap, 'deployment' => deployment,
                      'id' => id, 'index' => index, 'ip' => ip, 'name' => name,
                      'networks' => networks || { 'default' => { 'ip' => ip } } }
        end

        def to_h = @fields
      end

      class ReleaseDir
        def initialize(path) = @path = path
        def job(name) = Job.new(File.join(@path.to_s, 'jobs', name))
      end

      class Job
        def initialize(path)
          @path = path
          @spec = YAML.safe_load(File.read(File.join(path, 'spec')))
        end

        # By the path of the rendered file.
        def template(rendered_path)
          source = @spec.fetch('templates').key(rendered_path)
          raise "No template of #{@spec.fetch('name')} becomes #{rendered_path}" unless source

          Template.new(@spec, File.join(@path, 'templates', source))
        end
      end

      class Template
        def initialize(job_spec, path)
          @job_spec = job_spec
          @path = path
        end

        def render(manifest_properties, spec: InstanceSpec.new, consumes: [])
          context = EvaluationContext.new(
            spec.to_h.merge('job' => { 'name' => @job_spec.fetch('name') },
                            'properties' => bind(manifest_properties), 'links' => links(consumes)),
          )
          erb = ERB.new(File.read(@path), trim_mode: '-')
          erb.filename = @path
          erb.result(context.get_binding)
        end

        private

        # Only what the job declares reaches its templates, and all of it does.
        def bind(manifest)
          (@job_spec['properties'] || {}).each_with_object({}) do |(name, definition), bound|
            value = Nested.get(manifest, name)
            Nested.set(bound, name, value.nil? ? definition['default'] : value)
          end
        end

        def links(consumes)
          declared = (@job_spec['consumes'] || []).map { |link| link.fetch('name') }
          consumes.to_h do |link|
            unless declared.include?(link.name)
              raise "#{@job_spec.fetch('name')} does not consume a link '#{link.name}'"
            end

            [link.name, link.to_h]
          end
        end
      end
    end
  end
end
