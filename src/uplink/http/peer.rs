//! A receiver for tests: one real socket that answers each request from a script and remembers what came.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::interval,
};

/// What a peer does once it has a whole request.
#[derive(Clone)]
pub enum Answer {
    /// These bytes, then the connection is closed.
    Bytes(Vec<u8>),
    /// These bytes, one each 20 ms, then nothing more.
    Drip(Vec<u8>),
    /// Accepted, read, never answered.
    Silence,
    /// A good reply whose body never ends.
    Endless,
    /// Closed without a word.
    Close,
}

pub fn reply(status: u16, headers: &str, body: &str) -> Answer {
    let length = body.len();
    let text = format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}"
    );
    Answer::Bytes(text.into_bytes())
}

pub struct Peer {
    pub address: SocketAddr,
    /// Every request as it came, head and body.
    pub requests: mpsc::UnboundedReceiver<Vec<u8>>,
}

impl Peer {
    pub async fn answering(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (heard, requests) = mpsc::unbounded_channel();
        let answer = Arc::new(answer);
        // ends with the test's runtime
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, answer.clone(), heard.clone()));
            }
        });
        Self { address, requests }
    }

    pub fn url(&self) -> String {
        format!("http://{}/api/alarms", self.address)
    }

    /// The head's lines and the body of the next request.
    pub async fn request(&mut self) -> (Vec<String>, Vec<u8>) {
        let request = self.requests.recv().await.unwrap();
        let end = head_end(&request).unwrap();
        let head = String::from_utf8(request[..end - 4].to_vec()).unwrap();
        (head.split("\r\n").map(str::to_owned).collect(), request[end..].to_vec())
    }
}

fn head_end(request: &[u8]) -> Option<usize> {
    request.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

fn whole(request: &[u8]) -> bool {
    let Some(end) = head_end(request) else { return false };
    let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    request.len() >= end + length.map_or(0, |length| length.parse::<usize>().unwrap())
}

async fn serve(mut stream: TcpStream, answer: Arc<Answer>, heard: mpsc::UnboundedSender<Vec<u8>>) {
    let mut request = Vec::new();
    while !whole(&request) {
        match stream.read_buf(&mut request).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    heard.send(request).expect("the test still listens");
    // the client may hang up at any point: that is what some of these answers are for
    let _gone = speak(&mut stream, &answer).await;
}

async fn speak(stream: &mut TcpStream, answer: &Answer) -> std::io::Result<()> {
    match answer {
        Answer::Bytes(bytes) => stream.write_all(bytes).await,
        Answer::Close => Ok(()),
        Answer::Silence => std::future::pending().await,
        Answer::Drip(bytes) => {
            let mut tick = interval(Duration::from_millis(20));
            for byte in bytes {
                tick.tick().await;
                stream.write_all(&[*byte]).await?;
            }
            std::future::pending().await
        }
        Answer::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
            loop {
                stream.write_all(format!("4000\r\n{}\r\n", "x".repeat(0x4000)).as_bytes()).await?;
            }
        }
    }
}
