//! Keys and certificates of the cluster, made anew for each run.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

/// A folder of keys, certificates and kubeconfigs.
pub(crate) struct Certificates {
    folder: PathBuf,
}

/// An authority that signs others' certificates.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, PEM.
pub(crate) struct Pair {
    /// The certificate.
    pub(crate) certificate: String,
    /// The key.
    pub(crate) key: String,
}

impl Authority {
    /// A new one.
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer }
    }

    /// Its own certificate.
    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for a server called one of `hosts`, or for a client.
    pub(crate) fn sign(&self, name: &str, group: Option<&str>, hosts: &[&str]) -> Pair {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.distinguished_name.push(DnType::CommonName, name);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Pair { certificate, key: key.serialize_pem() }
    }
}

impl Certificates {
    /// Everything that the processes of the cluster prove themselves with.
    pub(crate) fn write(folder: PathBuf) -> Self {
        std::fs::create_dir_all(folder.join("keda")).unwrap();
        let certificates = Self { folder };
        let (cluster, front, keda) =
            (Authority::new("cluster"), Authority::new("front"), Authority::new("keda"));
        certificates.put("ca.crt", &cluster.pem());
        certificates.put("front-ca.crt", &front.pem());
        certificates.put("keda/ca.crt", &keda.pem());

        let apiserver = ["kubernetes", "kubernetes.default.svc", "localhost", "127.0.0.1", "10.96.0.1"];
        certificates.put_pair("apiserver", &cluster.sign("kube-apiserver", None, &apiserver));
        certificates.put_pair("front-proxy", &front.sign("front-proxy", None, &[]));
        let controllers = "system:kube-controller-manager";
        certificates.put_pair("controllers", &cluster.sign(controllers, None, &["localhost", "127.0.0.1"]));
        certificates.put_pair("admin", &cluster.sign("admin", Some("system:masters"), &[]));
        // KEDA comes as its service account, so that its own roles decide what it may do.
        let account = "system:serviceaccount:keda:keda-operator";
        certificates.put_pair("keda", &cluster.sign(account, None, &[]));
        let hosts = ["localhost", "127.0.0.1", "keda-operator.keda.svc", "keda-metrics-apiserver.keda.svc"];
        certificates.put_pair("keda/tls", &keda.sign("keda", None, &hosts));

        let accounts = KeyPair::generate().unwrap();
        certificates.put("accounts.key", &accounts.serialize_pem());
        certificates.put("accounts.pub", &accounts.public_key_pem());
        for client in ["admin", "controllers", "keda"] {
            certificates.put(&format!("{client}.kubeconfig"), &certificates.kubeconfig(client));
        }
        certificates
    }

    /// Where one of them is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn put(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn put_pair(&self, name: &str, pair: &Pair) {
        pair.write(&self.path(&format!("{name}.crt")), &self.path(&format!("{name}.key")));
    }

    fn kubeconfig(&self, client: &str) -> String {
        let path = |name: String| self.path(&name).display().to_string();
        let (ca, certificate, key) =
            (path("ca.crt".into()), path(format!("{client}.crt")), path(format!("{client}.key")));
        format!(
            "apiVersion: v1
kind: Config
clusters: [{{name: c, cluster: {{server: \"https://127.0.0.1:6443\", certificate-authority: {ca}}}}}]
users: [{{name: u, user: {{client-certificate: {certificate}, client-key: {key}}}}}]
contexts: [{{name: c, context: {{cluster: c, user: u}}}}]
current-context: c
"
        )
    }
}

impl Pair {
    /// Writes both to files.
    pub(crate) fn write(&self, certificate: &Path, key: &Path) {
        std::fs::write(certificate, &self.certificate).unwrap();
        std::fs::write(key, &self.key).unwrap();
    }
}
