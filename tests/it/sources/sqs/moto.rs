//! moto, as tests of other parts use it.

use aws_sdk_sqs::types::QueueAttributeName;

use crate::support::moto::{ACCOUNT, Moto};

#[tokio::test]
async fn messages_are_counted_where_they_are() {
    let moto = Moto::shared();
    let queue = moto.create_queue("counted").await;
    assert_eq!(queue, format!("http://127.0.0.1:{}/{ACCOUNT}/counted", moto.port()));
    let client = moto.client();
    for _ in 0..3 {
        client.send_message().queue_url(&queue).message_body("{}").send().await.unwrap();
    }
    client.receive_message().queue_url(&queue).send().await.unwrap();
    let names = [
        QueueAttributeName::ApproximateNumberOfMessages,
        QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
    ];
    let request = client.get_queue_attributes().queue_url(&queue);
    let answer = names.iter().cloned().fold(request, |request, name| request.attribute_names(name));
    let counts = answer.send().await.unwrap().attributes.unwrap();
    assert_eq!(names.map(|name| counts[&name].clone()), ["2", "1"]);
}
