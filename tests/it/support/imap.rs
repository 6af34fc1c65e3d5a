//! An IMAP server that does what a test tells it, good or bad.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpListener,
    sync::watch,
};
use tokio_rustls::TlsAcceptor;

/// The one user and its password, which needs quoting.
pub(crate) const USER: &str = "agents@agents.example";
pub(crate) const PASSWORD: &str = "pass\"wörd\\ one two";

/// A mail in a folder.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) uid: u32,
    pub(crate) flags: Vec<String>,
    pub(crate) raw: Vec<u8>,
    /// As `INTERNALDATE` says.
    pub(crate) arrived: String,
}

#[derive(Clone, Debug)]
pub(crate) struct StoredFolder {
    pub(crate) name: String,
    pub(crate) validity: u32,
    pub(crate) next: u32,
    pub(crate) mails: Vec<Stored>,
}

/// What the server is and does; a test changes it while it runs.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) folders: Vec<StoredFolder>,
    pub(crate) capabilities: String,
    /// Commands as they came, without tags and without passwords.
    pub(crate) commands: Vec<String>,
    /// Connections that are open.
    pub(crate) open: usize,
    /// How many of the next bodies are cut off in the middle.
    pub(crate) cut_bodies: usize,
    /// Sent in place of the next body's response.
    pub(crate) instead_of_body: Option<Vec<u8>>,
    /// `UID STORE` and `UID MOVE` are done and never answered.
    pub(crate) mute_changes: bool,
    /// `UID STORE` and `UID MOVE` are neither done nor answered.
    pub(crate) hold_changes: bool,
    /// All connections end when it changes.
    pub(crate) generation: u32,
}

/// A running server; it ends with the test.
#[derive(Clone)]
pub(crate) struct ImapServer {
    pub(crate) address: SocketAddr,
    starttls: Option<TlsAcceptor>,
    state: Arc<Mutex<State>>,
    changed: watch::Sender<u64>,
}

/// One connection's place.
struct Visit {
    server: ImapServer,
    folder: Option<String>,
    exists: usize,
    generation: u32,
    protected: bool,
}

/// What becomes of a connection after a command.
enum Then {
    GoOn,
    End,
}

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}
type Lines = BufReader<Box<dyn Wire>>;

impl ImapServer {
    /// A server with an empty INBOX that knows IDLE, MOVE and UIDPLUS.
    pub(crate) async fn start() -> Self {
        Self::listening(None, None).await
    }

    /// One that speaks TLS at once, as `localhost`.
    pub(crate) async fn start_tls() -> Self {
        Self::listening(Some(acceptor()), None).await
    }

    /// One that wants STARTTLS before a login.
    pub(crate) async fn start_starttls() -> Self {
        Self::listening(None, Some(acceptor())).await
    }

    async fn listening(tls: Option<TlsAcceptor>, starttls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let state = State {
            folders: vec![StoredFolder { name: "INBOX".to_owned(), validity: 7, next: 1, mails: Vec::new() }],
            capabilities: "IMAP4rev1 IDLE MOVE UIDPLUS AUTH=PLAIN AUTH=XOAUTH2".to_owned(),
            commands: Vec::new(),
            open: 0,
            cut_bodies: 0,
            instead_of_body: None,
            mute_changes: false,
            hold_changes: false,
            generation: 0,
        };
        let server = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::new(Mutex::new(state)),
            changed: watch::channel(0).0,
            starttls,
        };
        let there = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (server, tls) = (there.clone(), tls.clone());
                tokio::spawn(async move {
                    let stream: Box<dyn Wire> = match tls {
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => Box::new(stream),
                            Err(_) => return,
                        },
                        None => Box::new(stream),
                    };
                    server.change(|state| state.open += 1);
                    let generation = server.look(|state| state.generation);
                    let visit = Visit { server: server.clone(), folder: None, exists: 0, generation, protected: false };
                    let _ = visit.serve(BufReader::new(stream)).await;
                    server.change(|state| state.open -= 1);
                });
            }
        });
        server
    }

    pub(crate) fn look<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.state.lock().unwrap())
    }

    /// Changes the state and tells those who idle.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state.lock().unwrap());
        self.changed.send_modify(|version| *version += 1);
        result
    }

    /// Puts a mail into a folder, which is made when it is not there. Returns its number.
    pub(crate) fn put(&self, folder: &str, raw: impl Into<Vec<u8>>) -> u32 {
        let raw = raw.into();
        self.change(|state| state.put(folder, raw, "21-Nov-2099 10:00:00 +0000".to_owned()))
    }

    /// Ends all connections.
    pub(crate) fn hang_up(&self) {
        self.change(|state| state.generation += 1);
    }

    /// The mails of a folder.
    pub(crate) fn mails(&self, folder: &str) -> Vec<Stored> {
        self.look(|state| state.folder(folder).map(|folder| folder.mails.clone()).unwrap_or_default())
    }

    /// How many commands began like this.
    pub(crate) fn heard(&self, start: &str) -> usize {
        self.look(|state| state.commands.iter().filter(|command| command.starts_with(start)).count())
    }
}

impl State {
    fn folder(&self, name: &str) -> Option<&StoredFolder> {
        self.folders.iter().find(|folder| folder.name == name)
    }

    pub(crate) fn put(&mut self, folder: &str, raw: Vec<u8>, arrived: String) -> u32 {
        if self.folder(folder).is_none() {
            self.folders.push(StoredFolder { name: folder.to_owned(), validity: 9, next: 1, mails: Vec::new() });
        }
        let folder = self.folders.iter_mut().find(|known| known.name == folder).unwrap();
        let uid = folder.next;
        folder.next += 1;
        folder.mails.push(Stored { uid, flags: Vec::new(), raw, arrived });
        uid
    }
}

impl Visit {
    async fn serve(mut self, mut lines: Lines) -> std::io::Result<()> {
        lines.write_all(b"* OK [CAPABILITY IMAP4rev1] at your service (\"\r\n").await?;
        let mut changed = self.server.changed.subscribe();
        loop {
            lines.flush().await?;
            let line = tokio::select! {
                line = read_command(&mut lines) => line?,
                () = self.hung_up(&mut changed) => return Ok(()),
            };
            let Some(line) = line else { return Ok(()) };
            let words = words(&line);
            let (tag, command) = (words[0].clone(), words[1..].to_vec());
            let shown = match command[0].to_ascii_uppercase().as_str() {
                "LOGIN" => "LOGIN".to_owned(),
                _ => command.join(" "),
            };
            self.server.state.lock().unwrap().commands.push(shown);
            if let ("STARTTLS", Some(tls)) = (&*command[0], self.server.starttls.clone()) {
                lines.write_all(format!("{tag} OK go on\r\n").as_bytes()).await?;
                lines.flush().await?;
                lines = BufReader::new(Box::new(tls.accept(lines.into_inner()).await?));
                self.protected = true;
                continue;
            }
            if let Then::End = self.obey(&mut lines, &tag, &command).await? {
                return Ok(());
            }
        }
    }

    async fn hung_up(&self, changed: &mut watch::Receiver<u64>) {
        while self.server.look(|state| state.generation) == self.generation {
            if changed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    async fn obey(&mut self, lines: &mut Lines, tag: &str, command: &[String]) -> std::io::Result<Then> {
        let name = command[0].to_ascii_uppercase();
        let rest = &command[1..];
        match name.as_str() {
            "CAPABILITY" => {
                let known = match self.server.starttls.is_some() && !self.protected {
                    true => "IMAP4rev1 STARTTLS LOGINDISABLED".to_owned(),
                    false => self.server.look(|state| state.capabilities.clone()),
                };
                lines.write_all(format!("* CAPABILITY {known}\r\n").as_bytes()).await?;
            }
            "LOGIN" if rest == [USER, PASSWORD] => {}
            "LOGIN" => return self.say(lines, &format!("{tag} NO [AUTHENTICATIONFAILED] wrong: {}", rest[1])).await,
            "AUTHENTICATE" => {
                lines.write_all(b"+ \r\n").await?;
                lines.flush().await?;
                let answer = read_command(lines).await?.unwrap_or_default();
                let answer = data_encoding::BASE64.decode(answer.as_bytes()).unwrap();
                let plain = format!("\0{USER}\0{PASSWORD}").into_bytes();
                let token = format!("user={USER}\x01auth=Bearer ya29.token\x01\x01").into_bytes();
                if answer != plain && answer != token {
                    if rest[0] == "XOAUTH2" {
                        lines.write_all(b"+ eyJzdGF0dXMiOiI0MDAifQ==\r\n").await?;
                        lines.flush().await?;
                        assert_eq!(read_command(lines).await?.as_deref(), Some(""));
                    }
                    return self.say(lines, &format!("{tag} NO [AUTHENTICATIONFAILED] wrong: {PASSWORD}")).await;
                }
            }
            "SELECT" | "EXAMINE" => {
                let Some(folder) = self.server.look(|state| state.folder(&rest[0]).cloned()) else {
                    return self.say(lines, &format!("{tag} NO [NONEXISTENT] there is no {}", rest[0])).await;
                };
                self.folder = Some(folder.name.clone());
                self.exists = folder.mails.len();
                let told = format!(
                    "* FLAGS (\\Seen)\r\n* {} EXISTS\r\n* 0 RECENT\r\n* OK [UIDVALIDITY {}] ok\r\n* OK [UIDNEXT {}] ok\r\n",
                    self.exists, folder.validity, folder.next
                );
                lines.write_all(told.as_bytes()).await?;
            }
            "NOOP" => self.tell_news(lines).await?,
            "CREATE" => self.server.change(|state| {
                let name = rest[0].clone();
                state.folders.push(StoredFolder { name, validity: 11, next: 1, mails: Vec::new() });
            }),
            "IDLE" => {
                lines.write_all(b"+ idling\r\n").await?;
                if !self.idle(lines).await? {
                    return Ok(Then::End);
                }
            }
            "LOGOUT" => {
                lines.write_all(b"* BYE see you\r\n").await?;
            }
            "UID" => return self.uid(lines, tag, rest).await,
            _ => return self.say(lines, &format!("{tag} BAD unknown {name}")).await,
        }
        self.say(lines, &format!("{tag} OK done")).await
    }

    async fn say(&self, lines: &mut Lines, line: &str) -> std::io::Result<Then> {
        lines.write_all(format!("{line}\r\n").as_bytes()).await?;
        Ok(Then::GoOn)
    }

    fn mails(&self) -> Vec<Stored> {
        self.server.mails(self.folder.as_deref().unwrap())
    }

    async fn tell_news(&mut self, lines: &mut Lines) -> std::io::Result<()> {
        let now = self.mails().len();
        if now != self.exists {
            self.exists = now;
            lines.write_all(format!("* {now} EXISTS\r\n").as_bytes()).await?;
        }
        lines.flush().await
    }

    /// Until `DONE`; `false` when the connection is to end.
    async fn idle(&mut self, lines: &mut Lines) -> std::io::Result<bool> {
        let mut changed = self.server.changed.subscribe();
        loop {
            self.tell_news(lines).await?;
            if self.server.look(|state| state.generation) != self.generation {
                return Ok(false);
            }
            tokio::select! {
                line = read_command(lines) => return Ok(line?.as_deref() == Some("DONE")),
                _ = changed.changed() => {}
            }
        }
    }

    async fn uid(&mut self, lines: &mut Lines, tag: &str, rest: &[String]) -> std::io::Result<Then> {
        match rest[0].to_ascii_uppercase().as_str() {
            "SEARCH" => {
                let (first, last) = rest[2].split_once(':').unwrap();
                let (first, last): (u32, u32) = (first.parse().unwrap(), last.parse().unwrap());
                let found = self.mails().into_iter().filter(|mail| (first..=last).contains(&mail.uid));
                let found: String = found.map(|mail| format!(" {}", mail.uid)).collect();
                lines.write_all(format!("* SEARCH{found}\r\n").as_bytes()).await?;
            }
            "FETCH" => {
                if !self.fetch(lines, &rest[1], &rest[2]).await? {
                    return Ok(Then::End);
                }
            }
            "STORE" | "MOVE" | "COPY" | "EXPUNGE" => {
                let (hold, mute) = self.server.look(|state| (state.hold_changes, state.mute_changes));
                if !hold && let Err(refusal) = self.change(rest) {
                    return self.say(lines, &format!("{tag} NO {refusal}")).await;
                }
                if hold || mute {
                    lines.flush().await?;
                    let mut changed = self.server.changed.subscribe();
                    self.hung_up(&mut changed).await;
                    return Ok(Then::End);
                }
            }
            other => return self.say(lines, &format!("{tag} BAD unknown UID {other}")).await,
        }
        self.say(lines, &format!("{tag} OK done")).await
    }

    fn change(&self, rest: &[String]) -> Result<(), String> {
        let uid: u32 = rest[1].parse().unwrap();
        let name = self.folder.clone().unwrap();
        self.server.change(|state| {
            let mail = state.folder(&name).and_then(|folder| folder.mails.iter().find(|mail| mail.uid == uid)).cloned();
            let Some(mail) = mail else { return Ok(()) };
            let word = rest[0].to_ascii_uppercase();
            if matches!(word.as_str(), "MOVE" | "COPY") {
                if state.folder(&rest[2]).is_none() {
                    return Err("[TRYCREATE] no such folder".to_owned());
                }
                state.put(&rest[2], mail.raw, mail.arrived);
            }
            let folder = state.folders.iter_mut().find(|folder| folder.name == name).unwrap();
            match word.as_str() {
                "STORE" => {
                    let mail = folder.mails.iter_mut().find(|mail| mail.uid == uid).unwrap();
                    mail.flags.push(rest[3].trim_matches(['(', ')']).to_owned());
                }
                "MOVE" | "EXPUNGE" => folder.mails.retain(|mail| mail.uid != uid),
                _ => {}
            }
            Ok(())
        })
    }

    /// `false` when the connection is to end.
    async fn fetch(&mut self, lines: &mut Lines, set: &str, items: &str) -> std::io::Result<bool> {
        let mails = self.mails();
        let wanted: Vec<u32> = match set {
            "*" => mails.last().map(|mail| mail.uid).into_iter().collect(),
            set => set.split(',').map(|uid| uid.parse().unwrap()).collect(),
        };
        for (at, mail) in mails.iter().enumerate().filter(|(_, mail)| wanted.contains(&mail.uid)) {
            let (sequence, uid) = (at + 1, mail.uid);
            if !items.contains("BODY.PEEK[]") {
                let (size, arrived) = (mail.raw.len(), &mail.arrived);
                let line = format!(
                    "* {sequence} FETCH (FLAGS () RFC822.SIZE {size} INTERNALDATE \"{arrived}\" UID {uid})\r\n"
                );
                lines.write_all(line.as_bytes()).await?;
                continue;
            }
            let (cut, instead) = self.server.change(|state| {
                let cut = state.cut_bodies > 0;
                state.cut_bodies -= usize::from(cut);
                (cut, state.instead_of_body.take())
            });
            if let Some(instead) = instead {
                lines.write_all(&instead).await?;
                lines.flush().await?;
                continue;
            }
            let head = format!("* {sequence} FETCH (UID {uid} BODY[] {{{}}}\r\n", mail.raw.len());
            lines.write_all(head.as_bytes()).await?;
            if cut {
                lines.write_all(&mail.raw[..mail.raw.len() / 2]).await?;
                lines.flush().await?;
                return Ok(false);
            }
            lines.write_all(&mail.raw).await?;
            lines.write_all(b")\r\n").await?;
        }
        Ok(true)
    }
}

fn acceptor() -> TlsAcceptor {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls");
    let certificate = CertificateDer::from_pem_file(folder.join("localhost.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("localhost.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// A command without CRLF, its literals taken in as quoted strings; `None` at the end.
async fn read_command(lines: &mut Lines) -> std::io::Result<Option<String>> {
    let mut command = String::new();
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let line = line.trim_end_matches(['\r', '\n']);
        let literal =
            line.rsplit_once('{').and_then(|(head, size)| Some((head, size.strip_suffix('}')?.parse::<usize>().ok()?)));
        let Some((head, size)) = literal else {
            command.push_str(line);
            return Ok(Some(command));
        };
        lines.write_all(b"+ go on\r\n").await?;
        lines.flush().await?;
        let mut bytes = vec![0; size];
        lines.read_exact(&mut bytes).await?;
        let text = String::from_utf8(bytes).unwrap().replace('\\', "\\\\").replace('"', "\\\"");
        command.push_str(&format!("{head}\"{text}\""));
    }
}

/// Words, quoted strings and lists in parentheses.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted, mut listed) = (Vec::new(), String::new(), false, false);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' if quoted => word.extend(chars.next()),
            '"' => quoted = !quoted,
            ' ' if !quoted && !listed => words.push(std::mem::take(&mut word)),
            c => {
                listed = (listed || c == '(') && c != ')';
                word.push(c);
            }
        }
    }
    words.push(word);
    words
}
