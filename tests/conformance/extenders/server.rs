//! A real little HTTP server in the place of an extender: answers POSTs as it is told, and tells what it was asked.

use std::sync::Arc;
use std::time::Duration;

use component::tasks::Tasks;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};

type Answers = Arc<dyn Fn(&str, &Value) -> (u16, Value) + Send + Sync>;

/// The server.
pub(super) struct Server {
    pub(super) url: String,
    asked: mpsc::UnboundedReceiver<(String, Value)>,
    /// One permit for each request it may answer.
    pub(super) may_answer: Arc<Semaphore>,
}

impl Server {
    pub(super) async fn start(
        tasks: &Tasks,
        answers: impl Fn(&str, &Value) -> (u16, Value) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/extend", listener.local_addr().unwrap());
        let (sender, asked) = mpsc::unbounded_channel();
        let (answers, may_answer): (Answers, _) = (Arc::new(answers), Arc::new(Semaphore::new(1000)));
        let (own, permits) = (tasks.clone(), may_answer.clone());
        tasks.spawn_until_stopped("extender", async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (answers, sender, permits) = (answers.clone(), sender.clone(), permits.clone());
                own.spawn_until_stopped("connection", serve(stream, answers, sender, permits));
            }
        });
        Self { url, asked, may_answer }
    }

    /// Path and body of the next request.
    pub(super) async fn next(&mut self) -> (String, Value) {
        tokio::time::timeout(Duration::from_secs(30), self.asked.recv()).await.expect("is asked").unwrap()
    }

    /// All requests so far that [`Self::next`] has not told.
    pub(super) fn asked(&mut self) -> Vec<(String, Value)> {
        std::iter::from_fn(|| self.asked.try_recv().ok()).collect()
    }
}

async fn serve(
    stream: TcpStream,
    answers: Answers,
    asked: mpsc::UnboundedSender<(String, Value)>,
    permits: Arc<Semaphore>,
) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let lower = head.to_lowercase();
        let length = lower.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        stream.read_exact(&mut body).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let _ = asked.send((path.clone(), body.clone()));
        permits.acquire().await.unwrap().forget();
        let (status, answer) = answers(&path, &body);
        let answer = answer.to_string();
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        if stream.write_all((head + &answer).as_bytes()).await.is_err() {
            return;
        }
    }
}
