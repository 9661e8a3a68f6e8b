//! SQS queues, on moto and on ElasticMQ.

mod moto;
