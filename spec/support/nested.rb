# Properties as nested hashes, by dotted names.
module Nested
  def self.get(hash, name)
    name.split('.').reduce(hash) { |at, part| at.is_a?(Hash) ? at[part] : nil }
  end

  def self.set(hash, name, value)
    *path, last = name.split('.')
    path.reduce(hash) { |at, part| at[part] ||= {} }[last] = value
  end
end
