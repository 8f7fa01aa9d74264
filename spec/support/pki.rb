# Certificates and keys for manifests: good ones, made when they are first needed.

require 'openssl'

module Pki
  Pair = Struct.new(:certificate, :key)

  class << self
    def ca(name) = authorities[name].certificate.to_pem

    # A chain of one certificate and its key, in PEM.
    def pair(name) = pairs[name].to_a.map { |part| part.is_a?(OpenSSL::PKey::EC) ? part.private_to_pem : part.to_pem }

    def certificate(name) = pair(name).first
    def key(name) = pair(name).last

    private

    def authorities = @authorities ||= Hash.new { |all, name| all[name] = issue(name, nil) }
    def pairs = @pairs ||= Hash.new { |all, name| all[name] = issue(name, authorities['leaf CA']) }

    def issue(name, issuer)
      key = OpenSSL::PKey::EC.generate('prime256v1')
      certificate = OpenSSL::X509::Certificate.new
      certificate.version = 2
      certificate.serial = OpenSSL::BN.rand(64)
      certificate.subject = OpenSSL::X509::Name.new([['CN', name]])
      certificate.issuer = (issuer ? issuer.certificate : certificate).subject
      certificate.public_key = key
      certificate.not_before = Time.now - 3600
      certificate.not_after = Time.now + 86_400
      extend_certificate(certificate, issuer, name)
      certificate.sign(issuer ? issuer.key : key, 'SHA256')
      Pair.new(certificate, key)
    end

    def extend_certificate(certificate, issuer, name)
      factory = OpenSSL::X509::ExtensionFactory.new(issuer&.certificate || certificate, certificate)
      if issuer
        certificate.add_extension(factory.create_extension('subjectAltName', "DNS:#{name}"))
      else
        certificate.add_extension(factory.create_extension('basicConstraints', 'CA:TRUE', true))
        certificate.add_extension(factory.create_extension('keyUsage', 'keyCertSign', true))
      end
    end
  end
end
