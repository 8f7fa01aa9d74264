# frozen_string_literal: true

require 'yaml'

# Applies a BOSH ops file to a manifest, by the rules of the CLI's paths:
#
#   /key            the value of a key, which has to be there
#   /3  /-1         the item of a list
#   /-              past the end of a list
#   /name=value     the one item of a list that has this
#   ?               at the end of a token: it and all after it may be missing, and are made
class OpsFile
  class Error < StandardError; end

  Token = Struct.new(:text, :optional)

  attr_reader :path

  def self.load_yaml(path)
    YAML.safe_load(File.read(path), aliases: true)
  end

  def initialize(path)
    @path = path
    @operations = self.class.load_yaml(path)
    raise Error, "#{name} is no list of operations" unless @operations.is_a?(Array)
  end

  def name
    File.basename(path)
  end

  # A new manifest; the old one stays as it is.
  def apply(manifest)
    result = Marshal.load(Marshal.dump(manifest))
    @operations.each { |operation| change(result, operation) }
    result
  end

  private

  def change(manifest, operation)
    extra = operation.keys - %w[type path value]
    raise Error, "#{name}: unknown keys #{extra}" unless extra.empty?

    at = operation.fetch('path')
    *way, last = tokens(at)
    parent = way.each_with_index.reduce(manifest) do |node, (token, index)|
      step(node, token, (way + [last])[index + 1], at)
    end
    case operation.fetch('type')
    when 'replace' then put(parent, last, Marshal.load(Marshal.dump(operation.fetch('value'))), at)
    when 'remove' then remove(parent, last, at)
    else raise Error, "#{name}: unknown type #{operation['type']}"
    end
  end

  def tokens(path)
    raise Error, "#{name}: #{path} does not begin with a slash" unless path.start_with?('/')

    optional = false
    path[1..].split('/', -1).map do |text|
      optional ||= text.end_with?('?')
      Token.new(text.delete_suffix('?').gsub('~1', '/').gsub('~0', '~'), optional)
    end
  end

  def step(node, token, following, path)
    if token.text.include?('=')
      item(node, token, path) || append(node, token)
    elsif node.is_a?(Hash)
      missing!(path, token) unless node.key?(token.text) || token.optional
      node[token.text] = fresh(following) if node[token.text].nil?
      node[token.text]
    elsif node.is_a?(Array)
      node.fetch(Integer(token.text)) { missing!(path, token) }
    else
      raise Error, "#{name}: #{path}: nothing can be below #{token.text}"
    end
  end

  def fresh(following)
    following.text == '-' || following.text.include?('=') ? [] : {}
  end

  # The one item that matches; nil if there is none and need not be.
  def item(node, token, path)
    raise Error, "#{name}: #{path}: #{token.text} is looked for in no list" unless node.is_a?(Array)

    key, value = token.text.split('=', 2)
    found = node.select { |one| one.is_a?(Hash) && one[key] == value }
    raise Error, "#{name}: #{path}: #{found.size} items match #{token.text}" if found.size > 1

    missing!(path, token) if found.empty? && !token.optional
    found.first
  end

  def append(node, token)
    key, value = token.text.split('=', 2)
    node << { key => value }
    node.last
  end

  def put(parent, token, value, path)
    if token.text == '-'
      raise Error, "#{name}: #{path} is no list" unless parent.is_a?(Array)

      parent << value
    elsif token.text.include?('=')
      found = item(parent, token, path)
      found ? parent[parent.index(found)] = value : parent << value
    elsif parent.is_a?(Array)
      parent[Integer(token.text)] = value
    else
      missing!(path, token) unless parent.key?(token.text) || token.optional
      parent[token.text] = value
    end
  end

  def remove(parent, token, path)
    if token.text.include?('=')
      parent.delete(item(parent, token, path))
    elsif parent.is_a?(Array)
      parent.delete_at(Integer(token.text))
    else
      missing!(path, token) unless parent.key?(token.text) || token.optional
      parent.delete(token.text)
    end
  end

  def missing!(path, token)
    raise Error, "#{name}: #{path}: there is no #{token.text}"
  end
end
