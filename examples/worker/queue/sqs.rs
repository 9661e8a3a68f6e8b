//! Tasks in an SQS queue. The visibility timeout is the lease: whoever renews one renews the other. The record decides
//! who runs a task; the visibility only decides when SQS gives the message to somebody else, who then reads the record.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, MessageAttributeValue, MessageSystemAttributeName,
    QueueAttributeName,
};
use serde_json::Value;
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;

use super::held::{Held, Verdict};
use super::{Back, Begun, End, Error, Hold, Message, Queue, Result};
use crate::settings::SqsSettings;

/// How long one look waits at the server: each look is a request, which is paid for, and a worker that is told to go
/// has to wait for the end of it. A look that is cut off may have been given a message.
const LOOK: Duration = Duration::from_secs(2);

/// Time for a connection, and for an answer beyond what it waits for.
const PATIENCE: Duration = Duration::from_secs(3);

/// Most leases that one request renews.
const BATCH: usize = 10;

/// Longest visibility timeout there is.
const LONGEST: Duration = Duration::from_secs(12 * 60 * 60);

/// A queue and its dead-letter queue.
pub(super) struct Sqs {
    held: Held,
    client: Client,
    url: String,
    /// Where dead letters go, if the settings say so.
    named: Option<String>,
    /// Where they go: as named, or as the queue's redrive policy has it.
    dead: OnceCell<String>,
    /// Hides messages from others for longer.
    keeping: Mutex<Option<JoinHandle<()>>>,
}

/// What a dead letter says of its end.
struct Death<'a> {
    reason: &'a str,
    attempts: u32,
}

impl Sqs {
    /// Credentials come as the AWS SDK finds them: a web identity, the pod's identity, the environment.
    pub(super) async fn open(held: Held, settings: SqsSettings) -> Self {
        use aws_smithy_http_client::tls;
        let SqsSettings { url, region, endpoint, dead } = settings;
        let tls = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring);
        let client = aws_smithy_http_client::Builder::new().tls_provider(tls).build_https();
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(PATIENCE)
            .operation_attempt_timeout(LOOK + PATIENCE)
            .operation_timeout((LOOK + PATIENCE) * 2)
            .build();
        let mut loader = aws_config::defaults(aws_config::BehaviorVersion::latest())
            .http_client(client)
            .timeout_config(timeouts);
        if let Some(region) = region {
            loader = loader.region(aws_config::Region::new(region));
        }
        if let Some(endpoint) = endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        let client = Client::new(&loader.load().await);
        Self { held, client, url, named: dead, dead: OnceCell::new(), keeping: Mutex::default() }
    }

    /// Where dead letters go.
    async fn dead(&self) -> Result<&str> {
        let find = || async {
            match &self.named {
                Some(url) => Ok(url.clone()),
                None => self.redrive().await,
            }
        };
        self.dead.get_or_try_init(find).await.map(String::as_str)
    }

    /// The queue that the redrive policy names.
    async fn redrive(&self) -> Result<String> {
        let asked = self.client.get_queue_attributes().queue_url(&self.url);
        let asked = asked.attribute_names(QueueAttributeName::RedrivePolicy).send().await;
        let attributes = asked.map_err(|error| said("GetQueueAttributes", &self.url, &error))?;
        let policy = attributes.attributes().and_then(|found| found.get(&QueueAttributeName::RedrivePolicy));
        let policy: Option<Value> = policy.and_then(|policy| serde_json::from_str(policy).ok());
        let Some(target) = policy.as_ref().and_then(|policy| policy["deadLetterTargetArn"].as_str()) else {
            return Err(Error::Broker(format!(
                "{} has no dead-letter queue: give it a redrive policy, or name one with --dead-letters",
                self.url
            )));
        };
        self.warn_of_few_receives(policy.as_ref());
        // arn:aws:sqs:REGION:ACCOUNT:NAME
        let mut parts = target.rsplit(':');
        let (name, account) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let asked = self.client.get_queue_url().queue_name(name).queue_owner_aws_account_id(account).send();
        let found = asked.await.map_err(|error| said("GetQueueUrl", target, &error))?;
        found.queue_url.ok_or_else(|| Error::Broker(format!("{target}: SQS names no URL")))
    }

    /// SQS moves a message by itself that was received too often, and no record says so. Tasks that are handed back,
    /// and messages of tasks that others run, are received as well.
    fn warn_of_few_receives(&self, policy: Option<&Value>) {
        // Both a number and a text are in use.
        let most = policy.map(|policy| policy["maxReceiveCount"].to_string());
        let most = most.and_then(|most| most.trim_matches('"').parse::<u32>().ok());
        let least = self.held.common.attempts.saturating_mul(2);
        if most.is_some_and(|most| most < least) {
            tracing::warn!(
                max_receive_count = most,
                at_least = least,
                "The redrive policy may take tasks away before their attempts are used up."
            );
        }
    }

    /// Puts a message into the dead-letter queue, and then out of the queue.
    async fn put_aside(&self, message: &Message, death: Death<'_>) -> Result<()> {
        let dead = self.dead().await?;
        let attribute = |kind: &str, value: &str| {
            let built = MessageAttributeValue::builder().data_type(kind).string_value(value).build();
            built.map_err(|error| Error::Broker(error.to_string()))
        };
        // SQS takes no empty text.
        let body = if message.text.is_empty() { " " } else { &message.text };
        let mut send = self.client.send_message().queue_url(dead).message_body(body);
        send = send.message_attributes("reason", attribute("String", death.reason)?);
        send = send.message_attributes("attempts", attribute("Number", &death.attempts.to_string())?);
        if dead.ends_with(".fifo") {
            let group = message.group.as_deref().unwrap_or("dead");
            send = send.message_group_id(group).message_deduplication_id(&message.handle);
        }
        send.send().await.map_err(|error| said("SendMessage", dead, &error))?;
        self.remove(message).await
    }

    async fn remove(&self, message: &Message) -> Result<()> {
        let delete = self.client.delete_message().queue_url(&self.url).receipt_handle(&message.receipt);
        delete.send().await.map(drop).map_err(|error| said("DeleteMessage", &self.url, &error))
    }

    /// When SQS may give a message to somebody else.
    async fn visible_in(&self, message: &Message, pause: Duration) -> Result<()> {
        let change = self.client.change_message_visibility().queue_url(&self.url);
        let change = change.receipt_handle(&message.receipt).visibility_timeout(seconds(pause));
        change.send().await.map(drop).map_err(|error| said("ChangeMessageVisibility", &self.url, &error))
    }

    /// Keeps messages from others for another lease, without keeping anybody waiting: the lease is Redis's. A message
    /// that SQS has given to somebody else meanwhile is left alone there, because its record says that we run it.
    fn keep(&self, holds: &[Hold]) {
        let mut keeping = self.keeping.lock().unwrap_or_else(PoisonError::into_inner);
        // One at a time, also when SQS is slow.
        if keeping.as_ref().is_none_or(JoinHandle::is_finished) {
            let receipts = holds.iter().map(|hold| hold.message.receipt.clone()).collect();
            let lease = seconds(self.held.common.lease);
            *keeping = Some(tokio::spawn(keep(self.client.clone(), self.url.clone(), receipts, lease)));
        }
    }
}

async fn keep(client: Client, url: String, receipts: Vec<String>, lease: i32) {
    for receipts in receipts.chunks(BATCH) {
        let entries = (0..).zip(receipts).filter_map(|(number, receipt): (u32, _)| {
            let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(number.to_string());
            // Nothing is missing in it.
            entry.receipt_handle(receipt).visibility_timeout(lease).build().ok()
        });
        let change = client.change_message_visibility_batch().queue_url(&url);
        match change.set_entries(Some(entries.collect())).send().await {
            Ok(changed) => {
                for refused in changed.failed() {
                    tracing::debug!(reason = refused.message(), "A message is not hidden any longer.");
                }
            }
            Err(error) => {
                let error = said("ChangeMessageVisibility", &url, &error);
                tracing::warn!(%error, "Messages could not be hidden any longer.");
            }
        }
    }
}

#[async_trait]
impl Queue for Sqs {
    async fn prepare(&self) -> Result<()> {
        self.held.prepare().await?;
        let asked = self.client.get_queue_attributes().queue_url(&self.url);
        let asked = asked.attribute_names(QueueAttributeName::QueueArn).send().await;
        asked.map_err(|error| said("GetQueueAttributes", &self.url, &error))?;
        self.dead().await.map(drop)
    }

    async fn take(&self) -> Result<Option<Message>> {
        let receive = self.client.receive_message().queue_url(&self.url).max_number_of_messages(1);
        let receive = receive.wait_time_seconds(seconds(LOOK));
        let receive = receive.visibility_timeout(seconds(self.held.common.lease));
        let receive = receive
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .message_system_attribute_names(MessageSystemAttributeName::MessageGroupId);
        let received = receive.send().await.map_err(|error| said("ReceiveMessage", &self.url, &error))?;
        Ok(received.messages.unwrap_or_default().into_iter().next().map(message))
    }

    async fn begin(&self, message: &Message, id: &str, token: &str) -> Result<Begun> {
        match self.held.begin(message, id, token).await? {
            Verdict::Run(begun) => Ok(begun),
            Verdict::Remove(reason) => {
                self.remove(message).await?;
                Ok(Begun::Skip(reason))
            }
            Verdict::Dead { reason, attempts } => {
                self.put_aside(message, Death { reason: &reason, attempts }).await?;
                Ok(Begun::Skip("it was given up already"))
            }
            // It comes again after a lease, and is removed once its task has ended.
            Verdict::Elsewhere => Ok(Begun::Skip("another worker has it")),
        }
    }

    async fn renew(&self, holds: &[Hold]) -> Result<Vec<bool>> {
        let kept = self.held.renew(holds).await?;
        self.keep(holds);
        Ok(kept)
    }

    async fn checkpoint(&self, hold: &Hold, text: &str, steps: u32) -> Result<bool> {
        self.held.common.checkpoint(hold, text, steps).await
    }

    async fn finish(&self, hold: &Hold, end: &End, steps: u32) -> Result<bool> {
        let _closing = self.held.close(hold);
        if !self.held.finish(hold, end, steps).await? {
            return Ok(false);
        }
        let removed = match end {
            End::Done(_) => self.remove(&hold.message).await,
            End::Failed(reason) => {
                let death = Death { reason, attempts: hold.attempts };
                self.put_aside(&hold.message, death).await
            }
        };
        if let Err(error) = removed {
            // The record has the end: whoever is given the message again removes it.
            tracing::warn!(task = %hold.id, %error, "The message of a task that has ended is still there.");
        }
        Ok(true)
    }

    async fn hand_back(&self, hold: &Hold, how: Back) -> Result<bool> {
        let _closing = self.held.close(hold);
        if !self.held.hand_back(hold, how).await? {
            return Ok(false);
        }
        let pause = match how {
            Back::Unharmed => Duration::ZERO,
            Back::Later(pause) => pause,
        };
        if let Err(error) = self.visible_in(&hold.message, pause).await {
            tracing::debug!(task = %hold.id, %error, "The message comes again only after its lease.");
        }
        Ok(true)
    }

    async fn bury(&self, message: &Message, reason: &str) -> Result<()> {
        self.put_aside(message, Death { reason, attempts: message.delivered }).await
    }
}

fn message(received: aws_sdk_sqs::types::Message) -> Message {
    let mut attributes = received.attributes.unwrap_or_default();
    let delivered = attributes.remove(&MessageSystemAttributeName::ApproximateReceiveCount);
    Message {
        handle: received.message_id.unwrap_or_default(),
        text: received.body.unwrap_or_default(),
        delivered: delivered.and_then(|count| count.parse().ok()).unwrap_or(1),
        receipt: received.receipt_handle.unwrap_or_default(),
        group: attributes.remove(&MessageSystemAttributeName::MessageGroupId),
    }
}

/// Whole seconds, rounded up, as SQS has them.
fn seconds(duration: Duration) -> i32 {
    let duration = duration.min(LONGEST);
    let whole = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    i32::try_from(whole).unwrap_or(i32::MAX)
}

/// What SQS said, and what to do about it. Its answers hold no credentials.
fn said<E>(action: &str, queue: &str, error: &SdkError<E>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let code = error.code().unwrap_or_default();
    if code.ends_with("QueueDoesNotExist") || code.ends_with("NonExistentQueue") {
        return Error::Gone(format!("SQS has no queue {queue}"));
    }
    if code.contains("AccessDenied") {
        return Error::Broker(format!("the worker's role may not sqs:{action} on {queue}"));
    }
    Error::Broker(match error.as_service_error() {
        Some(refusal) => format!("{action} on {queue}: {code}: {}", refusal.message().unwrap_or_default()),
        None => format!("{action} on {queue}: {}", DisplayErrorContext(error)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_rounded_up_to_seconds_and_to_twelve_hours_at_most() {
        let lease = |millis| seconds(Duration::from_millis(millis));
        assert_eq!([lease(0), lease(1), lease(2_000), lease(2_001)], [0, 1, 2, 3]);
        assert_eq!(seconds(Duration::MAX), 43_200);
    }
}
