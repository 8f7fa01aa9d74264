require_relative 'spec_helper'
require_relative 'support/repository'

# Without compiling: scripts/compile-package does that.
RSpec.describe 'the package copilot' do
  include_context 'with a repository of the release'

  before(:all) { @fingerprint = fingerprint }

  def copied = %w[packages scripts/compile-package .gitignore README.md]
  def fingerprint(repository = @repository) = run('scripts/compile-package', '--fingerprint', chdir: repository).strip
  def named_commit(repository = @repository) = File.read(File.join(repository, 'src/vendor/COMMIT')).strip
  def append(path, text = "\n") = File.write(File.join(@repository, path), text, mode: 'a')

  %w[Cargo.toml Cargo.lock build.rs proto/copilot/api.proto src/main.rs src/bbs/a_new_file.rs].each do |path|
    it "is another one with another #{path}" do
      append(path)
      changed = fingerprint
      expect(named_commit).to eq("#{@first}-dirty")
      # Now the name of the commit stays, and only the content is another.
      append(path)
      expect([@fingerprint, changed, fingerprint].uniq.length).to eq(3)
      expect(named_commit).to eq("#{@first}-dirty")
    end
  end

  it 'names the commit that changed it' do
    append('proto/copilot/api.proto')
    changed = commit
    expect(fingerprint).not_to eq(@fingerprint)
    expect(named_commit).to eq(changed)
  end

  it 'is another one with another packaging script' do
    append('packages/copilot/packaging')
    expect(fingerprint).not_to eq(@fingerprint)
  end

  it 'is the same whatever else changes' do
    append('README.md', 'More to read.')
    FileUtils.mkdir_p(%w[tests benches docs jobs/copilot].map { |folder| File.join(@repository, folder) })
    %w[tests/new.rs benches/new.rs docs/new.md jobs/copilot/spec packages/copilot/spec].each { |path| append(path) }
    expect(fingerprint).to eq(@fingerprint)
    commit
    expect(fingerprint).to eq(@fingerprint)
    expect(named_commit).to eq(@first)
  end

  it 'is the same from another folder' do
    run('git', 'clone', '--quiet', @repository, File.join(@dir, 'elsewhere'))
    expect(fingerprint(File.join(@dir, 'elsewhere'))).to eq(@fingerprint)
  end

  it 'says that it does not know the commit, where the history is cut' do
    append('README.md', 'The last commit, and none of the source.')
    commit
    run('git', 'clone', '--quiet', '--depth', '1', "file://#{@repository}", File.join(@dir, 'shallow'))
    fingerprint(File.join(@dir, 'shallow'))
    expect(named_commit(File.join(@dir, 'shallow'))).to eq('unknown')
    expect(@err).to include('git fetch --unshallow')
  end

  it 'knows the commit where the history is cut below it' do
    append('src/main.rs')
    changed = commit
    append('README.md', 'The last commit, and none of the source.')
    commit
    run('git', 'clone', '--quiet', '--depth', '3', "file://#{@repository}", File.join(@dir, 'deep'))
    fingerprint(File.join(@dir, 'deep'))
    expect(named_commit(File.join(@dir, 'deep'))).to eq(changed)
  end

  it 'is made without git too' do
    FileUtils.cp_r(@repository, File.join(@dir, 'export'))
    FileUtils.rm_rf(File.join(@dir, 'export/.git'))
    fingerprint(File.join(@dir, 'export'))
    expect(named_commit(File.join(@dir, 'export'))).to eq('unknown')
    expect(@err).to include('no commit')
  end

  it 'has crates that are not compiled without their content' do
    fingerprint
    files = ->(crate) { Dir.glob('**/*', File::FNM_DOTMATCH, base: File.join(@repository, 'src/vendor/crates', crate)).reject { |path| path.end_with?('.') } }
    expect(files.('other-2.0.0+meta')).to match_array(%w[.cargo-checksum.json Cargo.toml src src/lib.rs])
    expect(File.read(File.join(@repository, 'src/vendor/crates/other-2.0.0+meta/.cargo-checksum.json'))).to eq(%({"files":{},"package":"22"}\n))
    expect(files.('used-1.0.0')).to match_array(%w[.cargo-checksum.json .hidden Cargo.toml build.rs src src/lib.rs])
  end

  it 'leaves the tree clean' do
    fingerprint
    expect(run('git', 'status', '--porcelain')).to eq('')
  end

  it 'takes every file of src/: there are none but Rust' do
    others = Dir.glob('**/*', base: File.join(ROOT, 'src')).reject do |path|
      path.start_with?('vendor/') || path.end_with?('.rs') || File.directory?(File.join(ROOT, 'src', path))
    end
    expect(others).to be_empty, "packages/copilot/spec has to list #{others.join(', ')}"
  end
end

RSpec.describe 'the toolchain' do
  let(:blobs) { YAML.safe_load(File.read(File.join(ROOT, 'config/blobs.yml'))) }

  it 'is what the package takes' do
    patterns = YAML.safe_load(File.read(File.join(ROOT, 'packages/rust-1-linux/spec'))).fetch('files')
    taken = blobs.keys.select { |path| patterns.any? { |pattern| File.fnmatch(pattern, path, File::FNM_EXTGLOB) } }
    expect(taken).to eq(blobs.keys)
    expect(blobs.keys.map { |path| path[%r{\Arust/(cargo|rust-std|rustc)-}, 1] }).to match_array(%w[cargo rust-std rustc])
  end

  it 'is new enough' do
    minimum = File.read(File.join(ROOT, 'Cargo.toml'))[/^rust-version = "(.*)"$/, 1]
    blobs.each_key { |path| expect(Gem::Version.new(path[/-(\d+\.\d+\.\d+)-/, 1])).to be >= Gem::Version.new(minimum) }
  end

  it 'is what the package installs, with the interface of the official one' do
    Dir.mktmpdir do |dir|
      FileUtils.mkdir_p("#{dir}/compile/rust")
      %w[cargo rustc].each do |component|
        folder = "#{dir}/#{component}-9.9.9-x86_64-unknown-linux-gnu"
        FileUtils.mkdir_p(folder)
        File.write("#{folder}/install.sh", "#!/bin/bash\nmkdir -p \"${1#--prefix=}/bin\" && touch \"${1#--prefix=}/bin/#{component}\"\n", perm: 0o755)
        system('tar', '-czf', "#{dir}/compile/rust/#{File.basename(folder)}.tar.gz", '-C', dir, File.basename(folder), exception: true)
      end
      FileUtils.cp(File.join(ROOT, 'packages/rust-1-linux/packaging'), "#{dir}/compile")
      env = { 'PATH' => '/usr/bin:/bin', 'BOSH_INSTALL_TARGET' => "#{dir}/packages/rust-1-linux" }
      _, err, status = Open3.capture3(env, 'bash', '-x', 'packaging', chdir: "#{dir}/compile", unsetenv_others: true)
      expect(status).to be_success, err
      sourced = 'source "$BOSH_PACKAGES_DIR/rust-1-linux/bosh/compile.env"; command -v cargo; echo "$RUST_HOME"'
      out, = Open3.capture2({ 'PATH' => '/usr/bin:/bin', 'BOSH_PACKAGES_DIR' => "#{dir}/packages" }, 'bash', '-euc', sourced, unsetenv_others: true)
      expect(out.lines(chomp: true)).to eq(["#{dir}/packages/rust-1-linux/bin/cargo", "#{dir}/packages/rust-1-linux"])
    end
  end
end
