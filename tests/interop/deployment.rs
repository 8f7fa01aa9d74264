//! The files of deploy/istio: as they are, or without one of the settings in them.

use std::fs;

use anyhow::{Context as _, Result, ensure};

use crate::{peers::deployed, stage::HERE};

/// How istiod and its proxies are configured.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// The mesh config, with names to fill in.
    pub mesh_config: String,
    /// istiod's environment.
    pub environment: Vec<(String, String)>,
    /// EnvoyFilters by the names of their files.
    pub filters: Vec<(String, String)>,
    /// In which zone its ingress is.
    pub zone: &'static str,
}

impl Deployment {
    /// All of deploy/istio.
    pub fn read() -> Result<Self> {
        let read = |name: &str| {
            let path = deployed(name);
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
        };
        let environment = read("istiod.env")?;
        let mut filters = Vec::new();
        for entry in fs::read_dir(deployed("filters"))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let text = read(&format!("filters/{name}"))?;
            filters.push((name, text));
        }
        filters.sort();
        Ok(Self {
            mesh_config: read("mesh.yml")?,
            environment: environment
                .lines()
                .filter(|line| !line.starts_with('#'))
                .filter_map(|line| line.split_once('='))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            filters,
            zone: HERE,
        })
    }

    /// With its ingress in another zone.
    pub fn in_zone(mut self, zone: &'static str) -> Self {
        self.zone = zone;
        self
    }

    /// Without a key of the mesh config, such as `defaultConfig.gatewayTopology`, and all that is below it.
    pub fn without_key(mut self, path: &str) -> Result<Self> {
        let (found, text) = cut(&self.mesh_config, path);
        ensure!(found, "the mesh config has no {path}");
        self.mesh_config = text;
        Ok(self)
    }

    /// Without a variable of istiod's environment.
    pub fn without_variable(mut self, name: &str) -> Result<Self> {
        let before = self.environment.len();
        self.environment.retain(|(variable, _)| variable != name);
        ensure!(
            self.environment.len() < before,
            "istiod's environment has no {name}"
        );
        Ok(self)
    }

    /// Without a file of EnvoyFilters.
    pub fn without_filter(mut self, name: &str) -> Result<Self> {
        let before = self.filters.len();
        self.filters.retain(|(filter, _)| filter != name);
        ensure!(
            self.filters.len() < before,
            "there is no {name} among the filters"
        );
        Ok(self)
    }

    /// With one more file of EnvoyFilters.
    pub fn with_filter(mut self, name: &str, text: String) -> Self {
        self.filters.push((name.to_owned(), text));
        self
    }
}

/// The text without the block of a key, which is indented by two for each level; and whether it was there.
fn cut(text: &str, path: &str) -> (bool, String) {
    let depth = path.split('.').count();
    let mut keys: Vec<&str> = Vec::new();
    let mut found = false;
    let mut kept = String::new();
    for line in text.lines() {
        let content = line.trim_start();
        let level = (line.len() - content.len()) / 2;
        let is_key = !content.is_empty() && !content.starts_with(['#', '-']);
        if let Some((key, _)) = content.split_once(':').filter(|_| is_key) {
            keys.truncate(level);
            keys.push(key);
        }
        if is_key && keys.len() >= depth && keys[..depth].join(".") == path {
            found = true;
        } else {
            kept += line;
            kept.push('\n');
        }
    }
    (found, kept)
}
