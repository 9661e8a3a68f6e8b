//! KEDA and we prove ourselves to each other; a trigger without a certificate is not served.

use serde_json::json;

use crate::cluster::certificates::Authority;
use crate::objects::{self, Call, Queue, Trigger};
use crate::scene::{Scene, Setting, Stage};

/// Name of the Secret, and of the TriggerAuthentication that hands it to KEDA.
const NAME: &str = "agent-scaler-tls";

pub(super) async fn proves_both_sides(stage: Stage) {
    let (folder, host) = (stage.folder(), Stage::host(stage.name));
    let (ours, kedas) = (Authority::new("agent-scaler"), Authority::new("keda-clients"));
    ours.sign("agent-scaler", None, &[&host]).write(&folder.join("tls.crt"), &folder.join("tls.key"));
    std::fs::write(folder.join("client-ca.crt"), kedas.pem()).unwrap();
    let path = |name| folder.join(name).display().to_string();
    let tls = format!(
        "{{ mode: mutual, certificate: {}, key: {}, clientCa: {} }}",
        path("tls.crt"),
        path("tls.key"),
        path("client-ca.crt")
    );
    let mut scene = Scene::set(stage, Setting { tls: Some(tls), ..Setting::on(Queue::Stream) }).await;

    let trigger = Trigger::new(Call::ExternalPush, Queue::Stream, &scene.host, 5);
    scene.api.apply(&objects::deployment(scene.namespace)).await;
    scene.api.apply(&objects::scaled_object(scene.namespace, &trigger)).await;
    scene.put(3, 5).await;
    scene.note("KEDA proves nothing");
    scene
        .holds("nothing is said and nothing scaled", 6, |seen| {
            seen.replicas == 0 && seen.said == "nothing yet"
        })
        .await;

    let client = kedas.sign("keda", None, &[]);
    scene
        .api
        .apply(&json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": NAME, "namespace": scene.namespace},
            "stringData": {"ca.crt": ours.pem(), "tls.crt": client.certificate, "tls.key": client.key},
        }))
        .await;
    let from = |parameter, key| json!({"parameter": parameter, "name": NAME, "key": key});
    scene
        .api
        .apply(&json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "TriggerAuthentication",
            "metadata": {"name": NAME, "namespace": scene.namespace},
            "spec": {"secretTargetRef": [
                from("caCert", "ca.crt"), from("tlsClientCert", "tls.crt"), from("tlsClientKey", "tls.key"),
            ]},
        }))
        .await;
    scene.note("KEDA proves itself");
    scene.apply(&objects::scaled_object(scene.namespace, &trigger.authentication(NAME))).await;
    scene.until("every task is done", 60, |seen| seen.tasks.done == 3).await;
    scene.until("no replicas", 40, |seen| seen.replicas == 0 && seen.ready == 0).await;
    scene.nothing_was_lost();
}
