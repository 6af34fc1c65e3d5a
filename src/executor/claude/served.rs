//! The MCP server `postern` inside the control protocol: tools of ours, without another process.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use crate::{
    domain::{own_tool::SERVER, template::clip},
    executor::tools::{ToolCall, ToolHost},
};

/// How long one call may take.
const CALL_LIMIT: Duration = Duration::from_secs(10 * 60);
/// Bytes of what a call is told, and of what it gives back.
const MAX_INPUT_BYTES: usize = 1024 * 1024;
const MAX_REPLY_BYTES: usize = 256 * 1024;
/// Spoken when the CLI names no version.
const PROTOCOL: &str = "2025-06-18";

/// Answers one JSON-RPC message for the server `name`.
///
/// # Errors
/// When there is no such server.
pub(super) async fn answer(host: Option<Arc<dyn ToolHost>>, name: &str, message: Value) -> Result<Value, String> {
    answer_within(CALL_LIMIT, host, name, message).await
}

async fn answer_within(
    limit: Duration,
    host: Option<Arc<dyn ToolHost>>,
    name: &str,
    message: Value,
) -> Result<Value, String> {
    let host = host.filter(|_| name == SERVER).ok_or_else(|| "there is no such MCP server here".to_owned())?;
    let method = message.get("method").and_then(Value::as_str).unwrap_or_default();
    let Some(id) = message.get("id").filter(|id| !id.is_null()).cloned() else {
        // A notification.
        return Ok(json!({"mcp_response": {"jsonrpc": "2.0", "result": {}}}));
    };
    let params = message.get("params").unwrap_or(&Value::Null);
    let outcome = match method {
        "initialize" => {
            let version = params.get("protocolVersion").and_then(Value::as_str).unwrap_or(PROTOCOL);
            Ok(json!({"protocolVersion": version, "capabilities": {"tools": {}},
                "serverInfo": {"name": SERVER, "version": env!("CARGO_PKG_VERSION")}}))
        }
        "ping" => Ok(json!({})),
        "tools/list" => {
            let tools = host.list().into_iter().map(
                |tool| json!({"name": tool.name, "description": tool.description, "inputSchema": tool.input_schema}),
            );
            Ok(json!({"tools": tools.collect::<Vec<Value>>()}))
        }
        "tools/call" => call(limit, host.as_ref(), params).await,
        _ => Err((-32601, "there is no such method here".to_owned())),
    };
    let reply = match outcome {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err((code, message)) => json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}}),
    };
    Ok(json!({"mcp_response": reply}))
}

async fn call(limit: Duration, host: &dyn ToolHost, params: &Value) -> Result<Value, (i64, String)> {
    let name = params.get("name").and_then(Value::as_str).unwrap_or_default();
    if !host.list().iter().any(|tool| tool.name == name) {
        return Err((-32602, "there is no such tool".to_owned()));
    }
    let input = params.get("arguments").cloned().unwrap_or_else(|| json!({}));
    if input.to_string().len() > MAX_INPUT_BYTES {
        return Ok(said("the input is longer than 1 MiB", true));
    }
    let id = params.pointer("/_meta/claudecode~1toolUseId").and_then(Value::as_str).map(str::to_owned);
    let call = ToolCall { name: name.to_owned(), input, id };
    let limit = host.patience(name).unwrap_or(limit);
    Ok(match tokio::time::timeout(limit, host.call(call)).await {
        Ok(reply) => said(&reply.text, reply.is_error),
        Err(_) => said(&format!("it took longer than {} s", limit.as_secs_f64()), true),
    })
}

fn said(text: &str, failed: bool) -> Value {
    let kept = clip(text, MAX_REPLY_BYTES);
    let text = if kept.len() == text.len() { text.to_owned() } else { format!("{kept}\n[cut: it was longer]") };
    json!({"content": [{"type": "text", "text": text}], "isError": failed})
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use serde_json::{Value, json};

    use super::{answer, answer_within};
    use crate::executor::{
        BoxFuture,
        tools::{ToolCall, ToolHost, ToolReply, ToolSpec},
    };

    struct Echo;

    impl ToolHost for Echo {
        fn list(&self) -> Vec<ToolSpec> {
            let description = "Says it again".to_owned();
            vec![ToolSpec { name: "echo".to_owned(), description, input_schema: json!({"type": "object"}) }]
        }

        fn call(&self, call: ToolCall) -> BoxFuture<'_, ToolReply> {
            Box::pin(async move {
                match call.input.get("text").and_then(Value::as_str) {
                    Some("hang") => std::future::pending().await,
                    Some(text) => ToolReply { text: text.to_owned(), is_error: false },
                    None => ToolReply { text: "say what".to_owned(), is_error: true },
                }
            })
        }
    }

    async fn ask(method: &str, params: Value) -> Value {
        let message = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
        let limit = Duration::from_millis(200);
        answer_within(limit, Some(Arc::new(Echo)), "postern", message).await.unwrap()["mcp_response"].clone()
    }

    #[tokio::test]
    async fn tools_are_listed_and_called_within_limits() {
        let version = json!({"protocolVersion": "2025-11-25"});
        assert_eq!(ask("initialize", version).await["result"]["protocolVersion"], "2025-11-25");
        assert_eq!(ask("tools/list", json!({})).await["result"]["tools"][0]["name"], "echo");
        let call = |text: Value| ask("tools/call", json!({"name": "echo", "arguments": {"text": text}}));
        assert_eq!(
            call(json!("hi")).await["result"],
            json!({"content": [{"type": "text", "text": "hi"}], "isError": false})
        );
        assert_eq!(call(json!(1)).await["result"]["isError"], true);
        assert_eq!(call(json!("hang")).await["result"]["content"][0]["text"], "it took longer than 0.2 s");
        assert_eq!(call(json!("x".repeat(2 << 20))).await["result"]["isError"], true);
        let long = call(json!("ä".repeat(400_000))).await;
        let text = long["result"]["content"][0]["text"].as_str().unwrap();
        assert!(text.len() < 300_000 && text.ends_with("[cut: it was longer]"));
        assert_eq!(ask("tools/call", json!({"name": "other"})).await["error"]["code"], -32602);
        assert_eq!(ask("resources/list", json!({})).await["error"]["code"], -32601);
    }

    #[tokio::test]
    async fn other_servers_and_agents_without_tools_have_nothing() {
        let message = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        let told = answer(Some(Arc::new(Echo)), "postern", message.clone()).await;
        assert_eq!(told, Ok(json!({"mcp_response": {"jsonrpc": "2.0", "result": {}}})));
        assert!(answer(Some(Arc::new(Echo)), "other", message.clone()).await.is_err());
        assert!(answer(None, "postern", message).await.is_err());
    }
}
