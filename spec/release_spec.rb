require_relative 'spec_helper'
require_relative 'support/repository'

# The release as the bosh CLI makes it, with files in the toolchain's place that are small.
RSpec.describe 'the release' do
  include_context 'with a repository of the release'

  def copied = %w[config jobs packages scripts/add-toolchain .gitignore LICENSE NOTICE]

  before { skip 'there is no bosh CLI' unless system('command -v bosh > /dev/null 2>&1') }

  before do
    Dir.mktmpdir { |dir| add_toolchain(dir) }
    run('packages/copilot/vendor')
    commit
  end

  def add_toolchain(dir)
    blobs = YAML.safe_load(File.read(File.join(@repository, 'config/blobs.yml'))).keys.to_h do |path|
      file = File.join(dir, File.basename(path))
      File.write(file, path)
      [path, { 'size' => File.size(file), 'sha' => "sha256:#{Digest::SHA256.file(file).hexdigest}" }]
    end
    File.write(File.join(@repository, 'config/blobs.yml'), blobs.to_yaml)
    run('scripts/add-toolchain', *Dir.glob(File.join(dir, '*')))
  end

  # What `bosh create-release` makes, by name: its jobs and packages with their fingerprints.
  def created(*arguments)
    Dir.mktmpdir do |dir|
      tarball = File.join(dir, 'release.tgz')
      run('bosh', '--non-interactive', 'create-release', '--tarball', tarball, *arguments)
      @members = run('tar', '--list', '--file', tarball).split
      YAML.safe_load(run('tar', '--extract', '--to-stdout', '--file', tarball, 'release.MF'))
    end
  end

  def fingerprints(manifest, kind) = manifest.fetch(kind).to_h { |part| part.values_at('name', 'fingerprint') }

  it 'is whole' do
    manifest = created
    expect(manifest).to include('name' => 'copilot', 'uncommitted_changes' => false)
    expect(@members).to include('license.tgz')
    jobs = Dir.children(File.join(ROOT, 'jobs'))
    packages = Dir.children(File.join(ROOT, 'packages'))
    expect(@members.grep(/tgz/)).to include(*jobs.map { |job| "jobs/#{job}.tgz" }, *packages.map { |one| "packages/#{one}.tgz" })
  end

  it 'is made final where there is no bucket, and what did not change is not made anew' do
    first = created('--final', '--version', '0.2.0')
    expect(first).to include('version' => '0.2.0', 'uncommitted_changes' => false)
    commit
    File.write(File.join(@repository, 'jobs/librarian/monit'), "# changed\n", mode: 'a')
    commit
    second = created('--final', '--version', '0.2.1')
    expect(fingerprints(second, 'packages')).to eq(fingerprints(first, 'packages'))
    changed = fingerprints(second, 'jobs').reject { |name, print| fingerprints(first, 'jobs')[name] == print }
    expect(changed.keys).to eq(%w[librarian])
    # Five parts and the one that changed; the indexes of both are in the repository, the parts themselves beside it.
    expect(Dir.children(File.join(@repository, 'final_blobs')).length).to eq(6)
    expect(run('git', 'status', '--short', '--untracked-files=all')).not_to include('final_blobs')
    expect(Dir.glob('releases/copilot/copilot-*.yml', base: @repository).length).to eq(2)
  end
end
