//! The programs of the cluster, built from their Go modules into a cache outside the clone.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The Kubernetes of `control-plane/go.mod`.
pub(crate) const KUBERNETES: &str = "v1.35.8";

/// The KEDA that is tested if none is asked for.
const KEDA: &str = "v2.21.0";

/// Where the programs are.
pub(crate) struct Binaries {
    /// etcd, kube-apiserver, kube-controller-manager and a proxy in one.
    pub(crate) control_plane: PathBuf,
    /// KEDA's operator.
    pub(crate) operator: PathBuf,
    /// KEDA's metrics adapter.
    pub(crate) adapter: PathBuf,
    /// Prints KEDA's protocol, or ours.
    pub(crate) describe: PathBuf,
    /// KEDA's version.
    pub(crate) keda: String,
    /// KEDA's manifests, as its module has them.
    pub(crate) manifests: PathBuf,
}

impl Binaries {
    /// The programs, built if they are not there yet: a quarter of an hour and 2 GB of modules, once.
    pub(crate) fn built() -> Self {
        let keda = variable("KEDA").unwrap_or_else(|| KEDA.to_owned());
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keda");
        let cache = cache();
        let control_plane = Module {
            name: "control-plane",
            version: KUBERNETES,
            files: ["go.mod", "go.sum", "main.go"].map(|file| sources.join("control-plane").join(file)),
        }
        .built(&cache, &[(".", "control-plane", &kubernetes_flags())], |_| {});

        let pinned = sources.join("keda").join(&keda);
        assert!(pinned.is_dir(), "no KEDA {keda}: {} does not exist", pinned.display());
        let package = "github.com/kedacore/keda/v2";
        let flags = format!("-s -w -X={package}/version.Version={}", keda.trim_start_matches('v'));
        let (operator, adapter) = (format!("{package}/cmd/operator"), format!("{package}/cmd/adapter"));
        let module = Module {
            name: "keda",
            version: &keda,
            files: [pinned.join("go.mod"), pinned.join("go.sum"), sources.join("keda/main.go")],
        };
        let built = module.built(
            &cache,
            &[(&operator, "operator", &flags), (&adapter, "adapter", &flags), (".", "describe", "-s -w")],
            copy_manifests,
        );
        Self {
            control_plane: control_plane.join("control-plane"),
            operator: built.join("operator"),
            adapter: built.join("adapter"),
            describe: built.join("describe"),
            manifests: built.join("manifests"),
            keda,
        }
    }
}

/// A Go module of ours that pins what is built.
struct Module<'a> {
    name: &'a str,
    version: &'a str,
    files: [PathBuf; 3],
}

impl Module<'_> {
    /// The folder with `programs` (package, name, linker flags), built from copies of the files: the clone
    /// stays as it is, and what is in the cache belongs to exactly these files. `finish` adds what else is
    /// needed of the modules.
    fn built(&self, cache: &Path, programs: &[(&str, &str, &str)], finish: fn(&Path)) -> PathBuf {
        let mut hasher = DefaultHasher::new();
        programs.hash(&mut hasher);
        for file in &self.files {
            std::fs::read(file)
                .unwrap_or_else(|error| panic!("{}: {error}", file.display()))
                .hash(&mut hasher);
        }
        let folder = cache.join(format!("{}-{}-{:016x}", self.name, self.version, hasher.finish()));
        let complete = folder.join("complete");
        if complete.exists() {
            return folder;
        }
        println!("building {} {} into {} (once)", self.name, self.version, folder.display());
        std::fs::create_dir_all(&folder).unwrap();
        for file in &self.files {
            std::fs::copy(file, folder.join(file.file_name().unwrap())).unwrap();
        }
        for (package, name, flags) in programs {
            let mut go = go(&folder);
            go.args(["build", "-trimpath", "-ldflags", flags, "-o", name, package]);
            let status = go.status().expect("install Go, which builds the cluster");
            assert!(status.success(), "go build {package} failed");
        }
        finish(&folder);
        std::fs::write(complete, "").unwrap();
        folder
    }
}

/// Copies what the cluster needs of the manifests in KEDA's module.
fn copy_manifests(folder: &Path) {
    let list = go(folder).args(["list", "-m", "-f", "{{.Dir}}", "github.com/kedacore/keda/v2"]).output();
    let source = PathBuf::from(String::from_utf8(list.unwrap().stdout).unwrap().trim()).join("config");
    let target = folder.join("manifests");
    for part in ["", "crd", "metrics-server"] {
        std::fs::create_dir_all(target.join(part)).unwrap();
    }
    for part in ["general/namespace.yaml", "service_account/service_account.yaml"] {
        copy_yaml(&source.join(part), &target);
    }
    for part in ["role.yaml", "role_binding.yaml"] {
        copy_yaml(&source.join("rbac").join(part), &target);
        copy_yaml(&source.join("metrics-server").join(part), &target.join("metrics-server"));
    }
    for entry in source.join("crd/bases").read_dir().unwrap() {
        copy_yaml(&entry.unwrap().path(), &target.join("crd"));
    }
}

/// Modules are read-only, and a copy that is would stand in the way of the next one.
fn copy_yaml(from: &Path, folder: &Path) {
    let text = std::fs::read(from).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    std::fs::write(folder.join(from.file_name().unwrap()), text).unwrap();
}

fn go(folder: &Path) -> Command {
    let mut go = Command::new("go");
    go.current_dir(folder).env("GOFLAGS", "-mod=readonly").env("GOWORK", "off");
    go
}

/// Without these flags the API server calls itself v0.0.0, and clients refuse it.
fn kubernetes_flags() -> String {
    let (major, minor) = ("1", KUBERNETES.split('.').nth(1).unwrap());
    let mut flags = "-s -w".to_owned();
    for (name, value) in [
        ("gitVersion", KUBERNETES),
        ("gitMajor", major),
        ("gitMinor", minor),
        ("gitTreeState", "clean"),
        ("gitCommit", "0000000000000000000000000000000000000000"),
        ("buildDate", "2026-01-01T00:00:00Z"),
    ] {
        flags.push_str(" -X k8s.io/component-base/version.");
        flags.push_str(&[name, "=", value].concat());
    }
    flags
}

/// Every Helm that `make test-manifests` has fetched.
pub(crate) fn helms() -> Vec<PathBuf> {
    let Some(Ok(folders)) = users_cache().map(|cache| cache.join("manifests").read_dir()) else {
        return Vec::new();
    };
    let programs = folders.map(|folder| folder.unwrap().path().join("helm"));
    let mut helms: Vec<PathBuf> = programs.filter(|program| program.is_file()).collect();
    helms.sort();
    helms
}

fn cache() -> PathBuf {
    variable("AGENT_SCALER_CACHE")
        .map(PathBuf::from)
        .or_else(users_cache)
        .expect("one of AGENT_SCALER_CACHE, XDG_CACHE_HOME and HOME is set")
        .join("keda")
}

fn users_cache() -> Option<PathBuf> {
    let cache = variable("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| variable("HOME").map(|home| Path::new(&home).join(".cache")));
    cache.map(|cache| cache.join("agent-scaler"))
}

#[expect(clippy::disallowed_methods, reason = "the cache and the version are the caller's choice")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
