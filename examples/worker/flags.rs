//! The flags, each of which is an environment variable as well. All are texts here, so that one error can name
//! everything that is wrong with them.

use clap::Parser;

/// A worker for AI-agent tasks: takes them from a Redis stream or list, from SQS or Kafka, asks a model and calls tools until there is
/// a result, keeps to its share of the model's rate limit, and reports what it does to agent-scaler.
#[derive(Debug, Parser)]
#[command(name = "worker")]
pub(crate) struct Flags {
    /// Redis with the records of tasks, the reports, and the queue if it is one of Redis's: redis:// or rediss://, host, port, database. Required.
    #[arg(long, env, value_name = "URL", default_value = "", hide_env_values = true)]
    pub(crate) redis_url: String,
    /// User of Redis's ACL; without it the password is the default user's.
    #[arg(long, env, value_name = "NAME", default_value = "")]
    pub(crate) redis_username: String,
    /// File with Redis's password. It is read when the process starts.
    #[arg(long, env, value_name = "PATH", default_value = "")]
    pub(crate) redis_password_file: String,
    /// PEM file of the authority that signed Redis's certificate; without it the public ones.
    #[arg(long, env, value_name = "PATH", default_value = "")]
    pub(crate) redis_ca: String,
    /// Name of the queue, under which records and reports are kept. Required for a stream or list; without it the last
    /// part of `--queue-url`, or the topic.
    #[arg(long, env, value_name = "NAME", default_value = "")]
    pub(crate) queue: String,
    /// Kind of the queue: stream, list, sqs or kafka.
    #[arg(long, env, value_name = "KIND", default_value = "stream")]
    pub(crate) queue_kind: String,
    /// Consumer group of a stream or topic.
    #[arg(long, env, value_name = "NAME", default_value = "workers")]
    pub(crate) group: String,
    /// List that holds the running tasks of a list; without it QUEUE:processing.
    #[arg(long, env, value_name = "NAME", default_value = "")]
    pub(crate) processing_list: String,
    /// URL of an SQS queue. Credentials come as the AWS SDK finds them.
    #[arg(long, env, value_name = "URL", default_value = "")]
    pub(crate) queue_url: String,
    /// AWS region of the queue; without it AWS_REGION or what else the SDK knows.
    #[arg(long, env, value_name = "NAME", default_value = "")]
    pub(crate) region: String,
    /// Address of SQS, where it is not AWS's own.
    #[arg(long, env, value_name = "URL", default_value = "")]
    pub(crate) endpoint_url: String,
    /// Kafka's brokers, divided by commas.
    #[arg(long, env, value_name = "HOST:PORT", default_value = "")]
    pub(crate) brokers: String,
    /// Topic with the tasks.
    #[arg(long, env, value_name = "NAME", default_value = "")]
    pub(crate) topic: String,
    /// File with further properties of the Kafka client, as librdkafka names them, one `name=value` a line: how to
    /// encrypt and to log in. It is read when the process starts.
    #[arg(long, env, value_name = "PATH", default_value = "")]
    pub(crate) kafka_properties_file: String,
    /// Dead-letter queue: an SQS queue's URL, without it the one of the queue's redrive policy; or a topic, without it
    /// TOPIC.dead. Redis's queues have QUEUE:dead.
    #[arg(long, env, value_name = "NAME", default_value = "")]
    pub(crate) dead_letters: String,
    /// Tasks at a time; `tasksPerReplica` of the trigger.
    #[arg(long, env, value_name = "NUMBER", default_value = "4")]
    pub(crate) slots: String,
    /// How long a task belongs to a worker that gives no sign of life; renewed three times in it.
    #[arg(long, env, value_name = "TIME", default_value = "30s")]
    pub(crate) lease: String,
    /// How often a task is begun before it is given up.
    #[arg(long, env, value_name = "NUMBER", default_value = "5")]
    pub(crate) attempts: String,
    /// The model's provider: anthropic, openai, azure-openai, groq, mistral, gemini, vertex, bedrock, openrouter, together,
    /// fireworks, deepseek, moonshot, xai, cohere, cerebras, gateway.
    #[arg(long, env, value_name = "NAME", default_value = "openai")]
    pub(crate) provider: String,
    /// Address of its API, without the version; the provider's own by default. Azure OpenAI, Vertex, Bedrock
    /// and a gateway have no default.
    #[arg(long, env, value_name = "URL", default_value = "")]
    pub(crate) base_url: String,
    /// Model that is asked. Required.
    #[arg(long, env, value_name = "NAME", default_value = "")]
    pub(crate) model: String,
    /// File with the API key. It is read anew for every request. Required.
    #[arg(long, env, value_name = "PATH", default_value = "")]
    pub(crate) api_key_file: String,
    /// Address of the tool server; without it the model is offered no tools.
    #[arg(long, env, value_name = "URL", default_value = "")]
    pub(crate) tools_url: String,
    /// Most answers of the model in one task.
    #[arg(long, env, value_name = "NUMBER", default_value = "50")]
    pub(crate) max_steps: String,
    /// Most tokens of one task, sent and generated.
    #[arg(long, env, value_name = "NUMBER", default_value = "1000000")]
    pub(crate) max_tokens: String,
    /// Most dollars of one task; needs the prices. Without it there is no such bound.
    #[arg(long, env, value_name = "DOLLARS", default_value = "")]
    pub(crate) max_cost: String,
    /// Dollars for a million tokens sent.
    #[arg(long, env, value_name = "DOLLARS", default_value = "")]
    pub(crate) input_price: String,
    /// Dollars for a million tokens generated.
    #[arg(long, env, value_name = "DOLLARS", default_value = "")]
    pub(crate) output_price: String,
    /// Most tokens of one answer.
    #[arg(long, env, value_name = "NUMBER", default_value = "4096")]
    pub(crate) answer_tokens: String,
    /// Most bytes of a conversation; beyond them the oldest tool results are left out.
    #[arg(long, env, value_name = "BYTES", default_value = "1048576")]
    pub(crate) conversation_bytes: String,
    /// How long the model may take for one answer.
    #[arg(long, env, value_name = "TIME", default_value = "10m")]
    pub(crate) llm_timeout: String,
    /// How long a tool may take.
    #[arg(long, env, value_name = "TIME", default_value = "5m")]
    pub(crate) tool_timeout: String,
    /// How long a task may take, waiting for the rate limit not counted.
    #[arg(long, env, value_name = "TIME", default_value = "2h")]
    pub(crate) task_timeout: String,
    /// Scope of the rate limit that is shared: PROVIDER/ACCOUNT/MODEL. Without it requests are not paced.
    #[arg(long, env, value_name = "NAME", default_value = "")]
    pub(crate) limit: String,
    /// Requests a minute for all workers of this scope, while the scaler publishes no share.
    #[arg(long, env, value_name = "AMOUNT", default_value = "")]
    pub(crate) requests_per_minute: String,
    /// Tokens sent a minute, likewise.
    #[arg(long, env, value_name = "AMOUNT", default_value = "")]
    pub(crate) input_tokens_per_minute: String,
    /// Tokens generated a minute, likewise.
    #[arg(long, env, value_name = "AMOUNT", default_value = "")]
    pub(crate) output_tokens_per_minute: String,
    /// Tokens sent and generated a minute, likewise.
    #[arg(long, env, value_name = "AMOUNT", default_value = "")]
    pub(crate) tokens_per_minute: String,
    /// Requests at a time, likewise.
    #[arg(long, env, value_name = "NUMBER", default_value = "")]
    pub(crate) concurrency: String,
    /// Asks the model without pacing, and says so in the reports; only waits after a 429.
    #[arg(long, env = "UNPACED")]
    pub(crate) unpaced: bool,
    /// Length of the protocol's minute, and of the provider's; shorter only in tests and demonstrations.
    #[arg(long, env, value_name = "TIME", default_value = "60s")]
    pub(crate) minute: String,
    /// How long the worker may go on after SIGTERM; the pod's terminationGracePeriodSeconds is longer.
    #[arg(long, env, value_name = "TIME", default_value = "30m")]
    pub(crate) grace: String,
    /// Tasks younger than this are handed back at SIGTERM instead of finished.
    #[arg(long, env, value_name = "TIME", default_value = "20s")]
    pub(crate) young: String,
    /// Where /livez, /readyz, /startupz and /metrics are.
    #[arg(long, env, value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    pub(crate) listen: String,
    /// Name of this worker, unlike any other's; without it the host's name, which is the pod's.
    #[arg(long, env, value_name = "NAME", default_value = "")]
    pub(crate) worker: String,
    /// Scope under which the worker reports; without it the queue's name.
    #[arg(long, env, value_name = "NAME", default_value = "")]
    pub(crate) scope: String,
    /// Runs one task and ends, as a Job does. Ends with exit code 0 when the task has ended, or if there is none.
    #[arg(long, env = "ONCE")]
    pub(crate) once: bool,
    /// How long `--once` waits for a task.
    #[arg(long, env, value_name = "TIME", default_value = "10s")]
    pub(crate) once_wait: String,
    /// What is logged: info, or worker=debug,redis=warn.
    #[arg(long, env, value_name = "FILTER", default_value = "info")]
    pub(crate) log: String,
}
