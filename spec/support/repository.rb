# What the package copilot is made of, and who gathers it.
module Repository
  INPUTS = %w[Cargo.toml Cargo.lock build.rs proto src].freeze

  # Cargo, without a network and in no time: one crate that is compiled and one that is not.
  CARGO = <<~'BASH'
    #!/usr/bin/env bash
    set -euo pipefail
    case $1 in
      vendor)
        for crate in other-2.0.0+meta used-1.0.0; do
          mkdir -p "${@: -1}/$crate/src"
          echo '[package]' > "${@: -1}/$crate/Cargo.toml"
          echo 'fn code() {}' | tee "${@: -1}/$crate/src/lib.rs" "${@: -1}/$crate/.hidden" > "${@: -1}/$crate/build.rs"
          echo '{"files":{"build.rs":"00","src/lib.rs":"11"},"package":"22"}' > "${@: -1}/$crate/.cargo-checksum.json"
        done ;;
      tree) echo 'copilot v0.1.0 (/somewhere)'; echo 'used v1.0.0 (proc-macro)' ;;
    esac
  BASH
end

# A copy of what the release is made of, in a git repository of its own, with a cargo that needs no network.
RSpec.shared_context 'with a repository of the release' do
  before(:all) do
    @dir = Dir.mktmpdir
    @repository = File.join(@dir, 'repository')
    FileUtils.mkdir_p(%w[repository/scripts repository/src bin].map { |folder| File.join(@dir, folder) })
    File.write(File.join(@dir, 'bin/cargo'), Repository::CARGO)
    FileUtils.chmod(0o755, File.join(@dir, 'bin/cargo'))
    # src/vendor may be there, and is large.
    sources = Dir.glob('src/*', base: ROOT) - ['src/vendor']
    (Repository::INPUTS - ['src'] + sources + copied).each do |path|
      FileUtils.cp_r(File.join(ROOT, path), File.join(@repository, File.dirname(path)))
    end
    run('git', 'init', '--quiet', chdir: @repository)
    @first = commit
  end

  after do
    run('git', 'reset', '--quiet', '--hard', @first)
    run('git', 'clean', '--quiet', '-d', '--force')
  end

  after(:all) { FileUtils.rm_rf(@dir) }

  def run(*command, chdir: @repository)
    env = { 'PATH' => "#{@dir}/bin:#{ENV.fetch('PATH')}", 'GIT_CONFIG_GLOBAL' => File::NULL, 'GIT_CONFIG_SYSTEM' => File::NULL }
    out, @err, status = Open3.capture3(env, *command, chdir: chdir)
    raise "#{command.join(' ')}: #{out}#{@err}" unless status.success?

    out
  end

  def commit
    run('git', 'add', '--all')
    run('git', '-c', 'user.name=spec', '-c', 'user.email=spec@example.com', 'commit', '--quiet', '--message', 'A change')
    run('git', 'rev-parse', '--short=12', 'HEAD').strip
  end
end
