//! The tools that the model is offered, called over HTTP.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::breaker::Breaker;
use crate::conversation::Call;
use crate::http;
use crate::model::{chain, excerpt};
use crate::pause;

/// Most bytes of a result that the model gets to see.
const MOST: usize = 256 * 1024;

/// Tries of one call.
const TRIES: u32 = 4;

/// A tool as the model sees it.
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    /// A JSON schema.
    pub(crate) parameters: fn() -> Value,
}

/// Every tool. A worker of your own names its own here.
pub(crate) const TOOLS: &[Tool] = &[Tool {
    name: "lookup",
    description: "Looks something up and answers with what was found.",
    parameters: || {
        json!({
            "type": "object",
            "properties": {
                "query": {"type": "string", "description": "what to look up"},
                "seconds": {"type": "number", "description": "how long to look at most"},
            },
            "required": ["query"],
        })
    },
}];

/// What a tool answered.
pub(crate) enum Answer {
    /// What the model wanted.
    Found(String),
    /// What is wrong with the call: the model may try another one.
    Refused(String),
}

/// The tool server.
pub(crate) struct Tools {
    client: reqwest::Client,
    /// `None` if there is none.
    address: Option<String>,
    timeout: Duration,
    breaker: Arc<Breaker>,
}

impl Tools {
    pub(crate) fn new(client: reqwest::Client, address: Option<String>, timeout: Duration) -> Self {
        Self { client, address, timeout, breaker: Breaker::new("tools") }
    }

    /// Calls a tool.
    ///
    /// # Errors
    /// When the tool server does not do its work, with the reason.
    pub(crate) async fn call(&self, task: &str, call: &Call) -> Result<Answer, String> {
        let known = TOOLS.iter().any(|tool| tool.name == call.tool);
        let Some(address) = self.address.as_ref().filter(|_| known) else {
            return Ok(Answer::Refused(format!("there is no tool `{}`", excerpt(&call.tool))));
        };
        let mut tries = 0;
        loop {
            let pass = self.breaker.pass().await;
            // A task that moved to another worker may call again; the server can tell by the key.
            let request = self
                .client
                .post(format!("{address}/{}", call.tool))
                .header("idempotency-key", format!("{task}/{}", call.id))
                .timeout(self.timeout)
                .json(&call.arguments);
            let reason = match http::send(request, MOST).await {
                Ok(reply) if (500..).contains(&reply.status) || [408, 425, 429].contains(&reply.status) => {
                    format!("status {}: {}", reply.status, excerpt(&reply.body))
                }
                Ok(reply) => {
                    pass.succeeded();
                    let cut = if reply.is_cut { "\n[cut off]" } else { "" };
                    return Ok(match reply.status {
                        200..300 => Answer::Found(format!("{}{cut}", reply.body)),
                        status => Answer::Refused(format!("status {status}: {}", excerpt(&reply.body))),
                    });
                }
                Err(error) => chain(&error.without_url()),
            };
            // Failures that opened the breaker, or happened while it was open, are the server's and not the call's.
            tries += u32::from(self.breaker.is_closed());
            pass.failed();
            if tries >= TRIES {
                return Err(format!("the tool `{}` fails: {reason}", call.tool));
            }
            tokio::time::sleep(pause::after(tries)).await;
        }
    }
}
