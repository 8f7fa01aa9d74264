# As much of JSON Schema 2020-12 as the properties' schemas use, and a Director's own type `certificate`.

require 'openssl'

class JsonSchema
  KEYWORDS = %w[
    $schema $defs $ref $comment title type properties required items enum const pattern minimum maximum minLength
    minItems maxItems anyOf allOf not if then else
  ].freeze

  def initialize(root) = @root = root

  # The places that are wrong, as dotted names.
  def errors(value, schema = @root, at = '')
    unknown = schema.keys - KEYWORDS
    raise "#{at}: this validator does not know #{unknown.join(', ')}" if unknown.any?
    return errors(value, resolve(schema['$ref']), at) if schema['$ref']

    here = simple(value, schema) ? [] : [at]
    here + inner(value, schema, at) + combined(value, schema, at)
  end

  def valid?(...) = errors(...).empty?

  private

  def resolve(reference)
    reference.delete_prefix('#/').split('/').reduce(@root) { |schema, part| schema.fetch(part) }
  end

  def simple(value, schema)
    schema.all? do |keyword, expected|
      case keyword
      when 'type' then Array(expected).any? { |type| type?(value, type) }
      when 'enum' then expected.include?(value)
      when 'const' then expected == value
      when 'pattern' then !value.is_a?(String) || value.match?(pattern(expected))
      when 'minLength' then !value.is_a?(String) || value.length >= expected
      when 'minimum' then !value.is_a?(Numeric) || value >= expected
      when 'maximum' then !value.is_a?(Numeric) || value <= expected
      when 'minItems' then !value.is_a?(Array) || value.length >= expected
      when 'maxItems' then !value.is_a?(Array) || value.length <= expected
      when 'required' then !value.is_a?(Hash) || (expected - value.keys).empty?
      else true
      end
    end
  end

  # Schemas' patterns are JavaScript's: ^ and $ are the ends of the text, not of its lines.
  def pattern(javascript) = Regexp.new(javascript.gsub(/(?<![\[\\])\^/, '\A').gsub(/(?<!\\)\$/, '\z'))

  def type?(value, type)
    case type
    when 'null' then value.nil?
    when 'boolean' then [true, false].include?(value)
    when 'integer' then value.is_a?(Integer)
    when 'string' then value.is_a?(String)
    when 'array' then value.is_a?(Array)
    when 'object' then value.is_a?(Hash)
    when 'certificate' then value == '' || certificate?(value)
    else raise "no type #{type}"
    end
  end

  def certificate?(value)
    value.is_a?(String) && OpenSSL::X509::Certificate.load(value).any?
  rescue OpenSSL::X509::CertificateError
    false
  end

  def inner(value, schema, at)
    case value
    when Hash
      schema.fetch('properties', {}).flat_map do |name, inner|
        value.key?(name) ? errors(value[name], inner, [at, name].reject(&:empty?).join('.')) : []
      end
    when Array
      schema['items'] ? value.each_with_index.flat_map { |one, i| errors(one, schema['items'], "#{at}[#{i}]") } : []
    else []
    end
  end

  def combined(value, schema, at)
    found = schema.fetch('allOf', []).flat_map { |one| errors(value, one, at) }
    found << at if schema['anyOf'] && schema['anyOf'].none? { |one| valid?(value, one, at) }
    found << at if schema['not'] && valid?(value, schema['not'], at)
    if schema['if']
      branch = schema[valid?(value, schema['if'], at) ? 'then' : 'else']
      found += errors(value, branch, at) if branch
    end
    found
  end
end
