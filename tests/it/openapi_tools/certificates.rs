//! Mutual TLS: a server that takes only clients with a certificate of its authority. Authority and certificates are made by `openssl`,
//! the server is Python's.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

const SERVER: &str = r#"
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        subject = dict(pair[0] for pair in self.connection.getpeercert()["subject"])
        body = ('"' + subject["commonName"] + '"').encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words):
        pass
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("server.pem", "server.key")
context.load_verify_locations("authority.pem")
context.verify_mode = ssl.CERT_REQUIRED
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
"#;

/// Makes an authority, and a certificate of it for the server and for a client.
const CERTIFICATES: &str = r#"
set -e
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout authority.key -out authority.pem -days 2 -subj /CN=authority \
  -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign
for name in server client; do
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $name.key -out $name.csr -subj /CN=our-$name
  printf 'subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth,clientAuth\n' > $name.ext
  openssl x509 -req -in $name.csr -CA authority.pem -CAkey authority.key -CAcreateserial -days 2 -extfile $name.ext -out $name.pem
done
"#;

/// A server of Python's; it is killed when this is dropped.
pub struct TlsServer(Child);

impl Drop for TlsServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether there are the programs that this needs, or the word by name that a test is skipped because one is missing.
pub fn can_start(test: &str) -> bool {
    let missing = ["openssl", "python3"].into_iter().find(|program| !has(program));
    if let Some(missing) = missing {
        let _ = writeln!(std::io::stderr(), "SKIPPED {test}: no {missing}");
    }
    missing.is_none()
}

fn has(program: &str) -> bool {
    Command::new(program).arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// Starts a program of Python's that serves with `server.pem`, a certificate of `authority.pem` for `localhost`, both in `folder`,
/// and prints its port.
pub fn started(folder: &Path, program: &str) -> (TlsServer, String) {
    let made =
        Command::new("sh").args(["-c", CERTIFICATES]).current_dir(folder).stderr(Stdio::null()).status().unwrap();
    assert!(made.success(), "openssl makes certificates");
    let mut command = Command::new("python3");
    command.args(["-c", program]).current_dir(folder).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut server = TlsServer(command.spawn().unwrap());
    let mut port = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut port).unwrap();
    (server, format!("https://localhost:{}", port.trim()))
}

#[test]
fn a_certificate_is_shown_to_the_server_that_asks_for_it() {
    if !can_start("openapi_tools::a_certificate_is_shown_to_the_server_that_asks_for_it") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (_server, url) = started(folder.path(), SERVER);
    let specification = json!({
        "openapi": "3.1.0", "servers": [{"url": url}],
        "components": {"securitySchemes": {"mtls": {"type": "mutualTLS"}}},
        "paths": {"/whoami": {"get": {"security": [{"mtls": []}]}}, "/open": {"get": {}}},
    });
    std::fs::write(folder.path().join("openapi.json"), specification.to_string()).unwrap();
    let config = "version: 1\noutgoing: { allow_private: [localhost] }\nsecrets:\n  mtls: { certificate: client.pem, key: client.key, hosts: [localhost] }\n";
    std::fs::write(folder.path().join("fastagency.yaml"), config).unwrap();
    let call = |tool: &str| -> Value {
        let said = Command::new(env!("CARGO_BIN_EXE_fastagency"))
            .args(["tools", "call", tool, "--openapi", "openapi.json", "--json"])
            .current_dir(folder.path())
            .env_remove("FASTAGENCY_CONFIG")
            .env("SSL_CERT_FILE", folder.path().join("authority.pem"))
            .output()
            .unwrap();
        serde_json::from_slice(&said.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&said.stderr)))
    };
    assert_eq!(call("get_whoami"), json!({"result": "our-client"}));
    assert!(call("get_open")["error"].is_string(), "without a certificate there is no connection");
}
