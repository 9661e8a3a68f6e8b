//! Who asks: every place that credentials come from, in processes with an environment of their own.

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use super::{SECRET, TOKEN, counted};
use crate::support::answerer::{Answer, Answerer, Asked};
use crate::support::moto::{ACCOUNT, Moto, REGION};

#[tokio::test]
async fn keys_of_the_environment() {
    let scene = Scene::new("").await;
    let keys =
        [("AWS_ACCESS_KEY_ID", "AKIAENV"), ("AWS_SECRET_ACCESS_KEY", SECRET), ("AWS_SESSION_TOKEN", TOKEN)];
    scene.plan.reads(&keys).await;
    let asked = scene.sqs.asked();
    assert_eq!(key_of(&asked[0]), "AKIAENV");
    assert_eq!(asked[0].header("x-amz-security-token"), TOKEN);
}

#[tokio::test]
async fn a_profile() {
    let scene = Scene::new("").await;
    let text = format!("[work]\naws_access_key_id = AKIAPROFILE\naws_secret_access_key = {SECRET}\n");
    let file = scene.plan.write("credentials", &text);
    scene.plan.reads(&[("AWS_SHARED_CREDENTIALS_FILE", &file), ("AWS_PROFILE", "work")]).await;
    assert_eq!(key_of(&scene.sqs.asked()[0]), "AKIAPROFILE");
}

/// The account in the role's ARN is that of the queues that may be named by URL.
#[tokio::test]
async fn a_web_identity_as_irsa_has_it() {
    let sts = Moto::shared().url();
    let scene = Scene::new("").await;
    let token = scene.plan.write("token", "a-web-identity-token");
    let role = format!("arn:aws:iam::{ACCOUNT}:role/scaler");
    let environment = [
        ("AWS_ROLE_ARN", role.as_str()),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", &token),
        ("AWS_ENDPOINT_URL_STS", &sts),
    ];
    scene.plan.reads(&environment).await;
    let asked = scene.sqs.asked();
    assert!(key_of(&asked[0]).starts_with("ASIA"), "a temporary key: {}", key_of(&asked[0]));
    assert!(asked[0].body.contains(&format!("{}/{ACCOUNT}/q", scene.sqs.url())), "{}", asked[0].body);

    let error = scene.plan.fails_on("https://sqs.eu-west-1.amazonaws.com/999999999999/q", &environment).await;
    assert!(
        error.contains(&format!("and the connection is for {ACCOUNT}: name the queue without")),
        "{error}"
    );
}

#[tokio::test]
async fn a_containers_endpoint_as_pod_identity_has_it() {
    let endpoint = Answerer::start(|asked| {
        if asked.header("authorization") == TOKEN && asked.path == "/v1/credentials" {
            return Answer::Say(200, temporary("ASIAPOD"));
        }
        Answer::Say(403, "{\"code\":\"AccessDenied\",\"message\":\"no\"}".to_owned())
    })
    .await;
    let scene = Scene::new("").await;
    let file = scene.plan.write("token", TOKEN);
    let uri = format!("{}/v1/credentials", endpoint.url());
    let environment = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &file),
    ];
    scene.plan.reads(&environment).await;
    assert_eq!(key_of(&scene.sqs.asked()[0]), "ASIAPOD");

    scene.plan.write("token", &format!("{TOKEN}\n"));
    let error = scene.plan.fails(&environment).await;
    assert!(error.contains("(hint: the token must not end with a newline)"), "{error}");
}

#[tokio::test]
async fn the_metadata_of_an_instance() {
    let metadata = Answerer::start(|asked| {
        let asks = |path: &str| asked.path == path && asked.header("x-aws-ec2-metadata-token") == TOKEN;
        let role = "/latest/meta-data/iam/security-credentials/";
        if asked.method == "PUT" && asked.path == "/latest/api/token" {
            return Answer::Say(200, TOKEN.to_owned());
        }
        match () {
            () if asks(role) => Answer::Say(200, "scaler".to_owned()),
            () if asks(&format!("{role}scaler")) => Answer::Say(200, temporary("ASIANODE")),
            () => Answer::Say(404, String::new()),
        }
    })
    .await;
    let scene = Scene::new("").await;
    let url = metadata.url();
    scene
        .plan
        .reads(&[("AWS_EC2_METADATA_DISABLED", "false"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url)])
        .await;
    assert_eq!(key_of(&scene.sqs.asked()[0]), "ASIANODE");
}

#[tokio::test]
async fn a_role_is_taken_with_its_external_id() {
    const ANSWER: &str = "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult>\
        <AssumedRoleUser><Arn>arn:aws:sts::444444444444:assumed-role/reader/agent-scaler</Arn>\
        <AssumedRoleId>AROA:agent-scaler</AssumedRoleId></AssumedRoleUser><Credentials>\
        <AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>hunter2</SecretAccessKey>\
        <SessionToken>tokenhunter2</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>\
        </Credentials></AssumeRoleResult></AssumeRoleResponse>";
    const REFUSAL: &str = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>User: \
        arn:aws:iam::123456789012:user/x is not authorized to perform: sts:AssumeRole</Message></Error></ErrorResponse>";
    let sts = Answerer::start(|asked| {
        if asked.body.contains("ExternalId=acme") {
            return Answer::Say(200, ANSWER.to_owned());
        }
        Answer::Say(403, REFUSAL.to_owned())
    })
    .await;
    let url = sts.url();
    let environment = [
        ("AWS_ACCESS_KEY_ID", "AKIAENV"),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_ENDPOINT_URL_STS", url.as_str()),
    ];
    let role = "roleArn: \"arn:aws:iam::444444444444:role/reader\"";
    let scene = Scene::new(&format!("{role}, externalId: acme")).await;
    scene.plan.reads(&environment).await;
    let asked = sts.asked();
    // Once for the account, and not again for the call.
    assert_eq!(asked.len(), 1);
    assert_eq!(key_of(&asked[0]), "AKIAENV");
    for part in ["RoleArn=arn%3Aaws%3Aiam%3A%3A444444444444%3Arole%2Freader", "RoleSessionName=agent-scaler"]
    {
        assert!(asked[0].body.contains(part), "{}", asked[0].body);
    }
    let asked = scene.sqs.asked();
    assert_eq!(key_of(&asked[0]), "ASIAROLE");
    assert!(asked[0].body.contains("/444444444444/q"), "its account: {}", asked[0].body);

    let error = Scene::new(role).await.plan.fails(&environment).await;
    assert!(error.contains("user/x is not authorized to perform: sts:AssumeRole"), "{error}");
    assert!(
        error.contains("(hint: the role's trust policy must name this identity and the `externalId`)"),
        "{error}"
    );
}

#[tokio::test]
async fn where_there_are_no_credentials_the_error_says_where_they_were_looked_for() {
    let error = Scene::new("").await.plan.fails(&[]).await;
    assert_eq!(
        error.split_once(" refuses: ").unwrap().1,
        "no credentials: tried the environment (AWS_ACCESS_KEY_ID), a profile, a web identity \
         (AWS_WEB_IDENTITY_TOKEN_FILE), a container's endpoint (AWS_CONTAINER_CREDENTIALS_FULL_URI) and the \
         instance's metadata; or give the connection `accessKeyId` and `secretAccessKey`"
    );
}

/// An SQS that takes every credential and shows one message, and a dry run over it.
struct Scene {
    sqs: Answerer,
    plan: Plan,
}

impl Scene {
    /// With further keys of the connection.
    async fn new(connection: &str) -> Self {
        let sqs = Answerer::start(|_| Answer::Say(200, counted(1, 0, 0))).await;
        Self { plan: Plan::at(&sqs.url(), connection), sqs }
    }
}

/// A dry run over one queue, in a process with an environment of its own.
pub(super) struct Plan(TempDir);

impl Plan {
    /// Of the SQS at `url`, with further keys of the connection.
    pub(super) fn at(url: &str, connection: &str) -> Self {
        let plan = Self(tempfile::tempdir().unwrap());
        let file = format!(
            "connections: {{ sqs: {{ type: aws, region: {REGION}, endpoint: \"{url}\", {connection} }} }}\n"
        );
        plan.write("server.yaml", &file);
        plan
    }

    /// Writes a file, and says where it is.
    pub(super) fn write(&self, name: &str, content: &str) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    /// Reads the queue in a process with this environment and no more.
    pub(super) async fn reads(&self, environment: &[(&str, &str)]) {
        let decision = self.run("q", environment).await;
        assert_eq!(
            decision["seen"][0],
            serde_json::json!({ "name": "ready", "value": 1.0, "estimated": false, "from": "queue" })
        );
    }

    /// Fails to read the queue in such a process: why.
    pub(super) async fn fails(&self, environment: &[(&str, &str)]) -> String {
        self.fails_on("q", environment).await
    }

    async fn fails_on(&self, queue: &str, environment: &[(&str, &str)]) -> String {
        self.run(queue, environment).await["error"].as_str().unwrap().to_owned()
    }

    async fn run(&self, queue: &str, environment: &[(&str, &str)]) -> Value {
        self.write(
            "object.yaml",
            &format!(
                "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {{ name: tasks }}\nspec:\n  scaleTargetRef: {{ name: worker }}\n  \
                 triggers:\n  - type: external\n    metadata: {{ scalerAddress: \"a:1\", source: aws-sqs-queue, \
                 connection: sqs, queueURL: \"{queue}\" }}\n"
            ),
        );
        let mut command = Command::new(env!("CARGO_BIN_EXE_agent-scaler"));
        command.env_clear().env("HOME", self.0.path()).env("AWS_EC2_METADATA_DISABLED", "true");
        command.envs(environment.iter().copied()).current_dir(self.0.path()).kill_on_drop(true);
        command.args(["plan", "-f", "object.yaml", "--config", "server.yaml", "--output", "json"]);
        let output = command.output().await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let said = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
        assert!(!said.contains("hunter2"), "{said}");
        let planned: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{said}"));
        planned["triggers"][0]["decision"].clone()
    }
}

/// The id of the key that a call was signed with.
fn key_of(asked: &Asked) -> &str {
    asked.header("authorization").split("Credential=").nth(1).unwrap().split('/').next().unwrap()
}

/// Credentials for a while, as containers and instances are given them.
fn temporary(id: &str) -> String {
    serde_json::json!({
        "Code": "Success",
        "Type": "AWS-HMAC",
        "LastUpdated": "2026-01-01T00:00:00Z",
        "AccessKeyId": id,
        "SecretAccessKey": SECRET,
        "Token": TOKEN,
        "Expiration": "2099-01-01T00:00:00Z",
    })
    .to_string()
}
