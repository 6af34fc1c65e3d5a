//! `deliveries`: messages owed to somebody, as their recipients would see them.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::{
    cli::{
        Context,
        client::{Client, PageArguments, ServerArguments},
        many::{self, FilterArguments, WhichArguments},
        output,
        table::{block, field, field_text, items, more, table, when, word},
    },
    domain::{
        delivery::{Message, SentFile},
        pace::Pace,
    },
    outbound::{email::compose, segments, sms},
};

/// What to do with deliveries.
#[derive(Debug, Args)]
pub(super) struct Deliveries {
    #[command(flatten)]
    server: ServerArguments,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the deliveries, the newest first.
    List {
        #[command(flatten)]
        page: PageArguments,
        #[command(flatten)]
        filter: Filter,
    },
    /// Show one delivery: the message, and every try to send it.
    Show(Id),
    /// Send them no more; only while they wait.
    Cancel {
        #[command(flatten)]
        which: WhichArguments,
        #[command(flatten)]
        filter: Filter,
    },
    /// Try again what failed or was canceled. With --all those that failed, unless --state says canceled.
    Retry {
        #[command(flatten)]
        which: WhichArguments,
        #[command(flatten)]
        filter: Filter,
        /// So many at a time: 5/s, 300/m, 1000/h. The server keeps to it; nobody has to wait.
        #[arg(long, value_parser = Pace::parse)]
        rate: Option<Pace>,
    },
    /// List the addresses that mail is not sent to, the newest first: mail to them came back.
    Suppressed {
        #[command(flatten)]
        page: PageArguments,
    },
    /// Send mail to a suppressed address again.
    Release {
        /// The address.
        address: String,
    },
    /// List who takes no text messages from us, the newest first: they said STOP, and not START since.
    OptOuts {
        #[command(flatten)]
        page: PageArguments,
    },
}

#[derive(Debug, Args)]
struct Filter {
    #[command(flatten)]
    common: FilterArguments,
    /// Only those of this run.
    #[arg(long, value_name = "ID")]
    run: Option<String>,
}

impl Filter {
    fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = self.common.query();
        query.extend(self.run.clone().map(|run| ("run", run)));
        query
    }
}

#[derive(Debug, Args)]
struct Id {
    /// Its id, dlv_…
    id: String,
}

pub(super) async fn deliveries(context: &Context, arguments: &Deliveries) -> anyhow::Result<ExitCode> {
    let client = Client::new(context, &arguments.server)?;
    match &arguments.action {
        Action::List { page, filter } => {
            let mut query = page.query();
            query.extend(filter.query());
            output::report(context, &client.get(&["deliveries"], &query).await?, list);
        }
        Action::Suppressed { page } => {
            output::report(context, &client.get(&["suppressions"], &page.query()).await?, suppressed);
        }
        Action::Release { address } => {
            let answer = client.post(&["suppressions", address, "release"], &[], &Value::Null).await?;
            output::report(context, &answer, |answer| {
                output::line(output::one_line(&format!("mail to {} is sent again", word(&answer["address"])), 300));
            });
        }
        Action::OptOuts { page } => {
            output::report(context, &client.get(&["opt-outs"], &page.query()).await?, opt_outs);
        }
        Action::Show(Id { id }) => output::report(context, &client.get(&["deliveries", id], &[]).await?, show),
        Action::Cancel { which, filter } => match which.only() {
            Some(id) => change(context, &client, &["deliveries", id, "cancel"]).await?,
            None => {
                let body = which.body(&filter.query())?;
                many::work(context, &client, &["deliveries", "cancel"], body, "canceled").await?;
            }
        },
        Action::Retry { which, filter, rate } => match which.only() {
            Some(id) => change(context, &client, &["deliveries", id, "retry"]).await?,
            None => {
                let mut body = which.body(&filter.query())?;
                body["rate"] = json!(rate);
                many::work(context, &client, &["deliveries", "retry"], body, "retried").await?;
            }
        },
    }
    Ok(ExitCode::SUCCESS)
}

async fn change(context: &Context, client: &Client, path: &[&str]) -> anyhow::Result<()> {
    let delivery = client.post(path, &[], &Value::Null).await?;
    output::report(context, &delivery, |delivery| {
        output::line(output::one_line(&format!("{} is {}", word(&delivery["id"]), state(delivery)), 200));
    });
    Ok(())
}

/// Prints a page of deliveries.
pub(super) fn list(page: &Value) {
    let row = |delivery: &Value| {
        let recipient = message(delivery).map_or_else(|| "-".to_owned(), |message| message.recipient().to_owned());
        [
            word(&delivery["id"]),
            when(&delivery["created_at"]),
            word(&delivery["message"]["channel"]),
            state(delivery),
            word(&delivery["attempt"]),
            recipient,
            word(&delivery["last_detail"]),
        ]
    };
    let rows: Vec<[String; 7]> = items(page).iter().map(row).collect();
    table(["ID", "CREATED", "CHANNEL", "STATE", "ATTEMPT", "TO", "DETAIL"], &rows);
    more(page);
}

fn suppressed(page: &Value) {
    let row = |found: &Value| {
        let [address, delivery, reason] = ["address", "delivery", "reason"].map(|column| word(&found[column]));
        [when(&found["at"]), address, delivery, reason]
    };
    let rows: Vec<[String; 4]> = items(page).iter().map(row).collect();
    table(["SINCE", "ADDRESS", "DELIVERY", "WHY"], &rows);
    more(page);
}

fn opt_outs(page: &Value) {
    let row = |opt_out: &Value| {
        let [theirs, ours, event] = ["theirs", "ours", "event"].map(|column| word(&opt_out[column]));
        [when(&opt_out["at"]), theirs, ours, event]
    };
    let rows: Vec<[String; 4]> = items(page).iter().map(row).collect();
    table(["SINCE", "NUMBER", "OURS", "EVENT"], &rows);
    more(page);
}

fn message(delivery: &Value) -> Option<Message> {
    serde_json::from_value(delivery["message"].clone()).ok()
}

fn state(delivery: &Value) -> String {
    let captured = if delivery["captured"] == true { ", captured" } else { "" };
    format!("{}{captured}", word(&delivery["state"]))
}

fn show(delivery: &Value) {
    field("id", &delivery["id"]);
    field_text("state", &state(delivery));
    for key in ["run", "event", "provider_id", "last_detail"] {
        field(key, &delivery[key]);
    }
    field_text("created", &when(&delivery["created_at"]));
    if !delivery["next_attempt_at"].is_null() && delivery["finished_at"].is_null() {
        field_text("next attempt", &when(&delivery["next_attempt_at"]));
    }
    field_text("finished", &when(&delivery["finished_at"]));
    match message(delivery) {
        Some(message) => show_message(&message),
        None => block("message", &serde_json::to_string_pretty(&delivery["message"]).unwrap_or_default()),
    }
    output::line("\nattempts");
    let row = |attempt: &Value| {
        let [number, outcome, took, detail] =
            ["number", "outcome", "took_ms", "detail"].map(|column| word(&attempt[column]));
        [number, when(&attempt["at"]), format!("{took} ms"), outcome, detail]
    };
    let rows: Vec<[String; 5]> = delivery["attempts"].as_array().into_iter().flatten().map(row).collect();
    table(["NUMBER", "AT", "TOOK", "OUTCOME", "DETAIL"], &rows);
    let report =
        |report: &Value| [when(&report["at"]), word(&report["status"]), word(&report["code"]), word(&report["detail"])];
    let rows: Vec<[String; 4]> = delivery["reports"].as_array().into_iter().flatten().map(report).collect();
    if !rows.is_empty() {
        output::line("\nreports of the provider");
        table(["AT", "STATUS", "CODE", "DETAIL"], &rows);
    }
}

fn show_files(files: &[SentFile]) {
    if files.is_empty() {
        return;
    }
    output::line("\nfiles");
    let row = |file: &SentFile| {
        let hash: String = file.sha256.chars().take(12).collect();
        [file.filename.clone(), file.size.to_string(), file.media_type.clone(), hash]
    };
    let rows: Vec<[String; 4]> = files.iter().map(row).collect();
    table(["NAME", "BYTES", "TYPE", "SHA-256"], &rows);
}

fn show_message(message: &Message) {
    output::line("");
    match message {
        Message::Email(email) => {
            field_text("From", &email.from);
            field_text("To", &email.to);
            field_text("Subject", &email.subject);
            if let Some(answered) = &email.in_reply_to {
                field_text("In-Reply-To", answered);
            }
            block("message", &compose::text_part(email));
            show_files(&email.files);
        }
        Message::Sms(message) => {
            field_text("From", &message.from);
            field_text("To", &message.to);
            let text = sms::body(message);
            field_text("segments", &segments::segments(&text).to_string());
            block("message", &text);
        }
        Message::Webhook(webhook) => {
            field_text("POST", &webhook.url);
            field_text("type", &webhook.kind);
            block("data", &serde_json::to_string_pretty(&webhook.data).unwrap_or_default());
        }
    }
}
