//! A gateway of a few prepared answers, for tests of its clients.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Answers one connection after the other with these bytes, cutting each off, and gives the paths that were asked for.
pub(crate) async fn played(answers: Vec<String>) -> (String, JoinSet<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut asked = Vec::new();
        for answer in answers {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let length = socket.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            asked.push(request.split(' ').nth(1).unwrap_or_default().to_owned());
            socket.write_all(answer.as_bytes()).await.unwrap();
            socket.shutdown().await.unwrap();
        }
        asked
    });
    (url, tasks)
}

/// The beginning of a stream with these events.
pub(crate) fn streamed(events: &str) -> String {
    // A length that is never reached: the connection breaks in the middle, as one does.
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 100000\r\n\r\n{events}")
}
