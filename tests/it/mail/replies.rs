//! New text apart from quotes, in the ways and languages in which mail programs quote.

use super::{mail, read};
use postern::ingress::mail::{SegmentKind, segments};

fn new_text(body: &str) -> String {
    read(mail("Content-Type: text/plain; charset=utf-8", body)).email.new_text
}

#[test]
fn attributions_are_cut_in_every_language_with_and_without_quote_marks() {
    for attribution in [
        "On Tue, Jan 14, 2025 at 9:12 AM Bob Example <bob@example.com> wrote:",
        "Am Di., 14. Jan. 2025 um 09:12 Uhr schrieb Bob Example <\nbob@example.com>:",
        "Bob Example <bob@example.com> schrieb am Di., 14. Jan. 2025, 09:12:",
        "Le mar. 14 janv. 2025 à 09:12, Bob Example <bob@example.com> a écrit :",
        "El mar, 14 ene 2025 a las 9:12, Bob Example (<bob@example.com>) escribió:",
        "El dt., 14 de gen. 2025, 9:12, Bob Example <bob@example.com> va escriure:",
        "Il giorno mar 14 gen 2025 alle ore 09:12 Bob Example <bob@example.com> ha scritto:",
        "Em ter., 14 de jan. de 2025 às 09:12, Bob Example <bob@example.com>\nescreveu:",
        "Op di 14 jan 2025 om 09:12 schreef Bob Example <bob@example.com>:",
        "Den tis 14 jan. 2025 kl 09:12 skrev Bob Example <bob@example.com>:",
        "ti 14. tammik. 2025 klo 9.12 Bob Example (bob@example.com) kirjoitti:",
        "wt., 14 sty 2025 o 09:12 Bob Example <bob@example.com> napisał(a):",
        "út 14. 1. 2025 v 9:12 odesílatel Bob Example <bob@example.com> napsal:",
        "Bob Example <bob@example.com> ezt írta (időpont: 2025. jan. 14., K, 9:12):",
        "În mar., 14 ian. 2025 la 09:12, Bob Example <bob@example.com> a scris:",
        "вт, 14 янв. 2025 г. в 09:12, Bob Example <bob@example.com>:",
        "вт, 14 січ. 2025 р. о 09:12 Bob Example <bob@example.com> пише:",
        "Στις Τρί 14 Ιαν 2025 στις 9:12 π.μ., ο χρήστης Bob Example <bob@example.com> έγραψε:",
        "Bob Example <bob@example.com>, 14 Oca 2025 Sal, 09:12 tarihinde şunu yazdı:",
        "\u{202b}בתאריך יום ג׳, 14 בינו׳ 2025 ב-9:12 מאת \u{202a}Bob Example\u{202c}\u{200f} <\u{202a}bob@example.com\u{202c}\u{200f}>:\u{202c}",
        "في الثلاثاء، 14 يناير 2025 في 9:12 ص تمت كتابة ما يلي بواسطة Bob Example <bob@example.com>:",
        "Vào Th 3, 14 thg 1, 2025 vào lúc 09:12 Bob Example <bob@example.com> đã viết:",
        "Pada tanggal Sel, 14 Jan 2025 pukul 09.12 Bob Example <bob@example.com> menulis:",
        "2025年1月14日(火) 9:12 Bob Example <bob@example.com>:",
        "Bob Example <bob@example.com> 于2025年1月14日周二 09:12写道：",
        "2025년 1월 14일 (화) 오전 9:12, Bob Example <bob@example.com>님이 작성:",
    ] {
        for quote in ["> Old text of January.\n> More of it.", "Old text of January.\n\nMore of it."] {
            assert_eq!(new_text(&format!("New text.\n\n{attribution}\n\n{quote}\n")), "New text.", "{attribution}");
        }
    }
}

#[test]
fn header_blocks_are_cut_in_every_language() {
    for [from, sent, to, subject] in [
        ["From", "Sent", "To", "Subject"],
        ["Von", "Gesendet", "An", "Betreff"],
        ["De", "Envoyé", "À", "Objet"],
        ["De", "Enviado el", "Para", "Asunto"],
        ["Da", "Inviato", "A", "Oggetto"],
        ["De", "Enviada em", "Para", "Assunto"],
        ["Van", "Verzonden", "Aan", "Onderwerp"],
        ["Från", "Skickat", "Till", "Ämne"],
        ["Lähettäjä", "Lähetetty", "Vastaanottaja", "Aihe"],
        ["Od", "Wysłano", "Do", "Temat"],
        ["Feladó", "Elküldve", "Címzett", "Tárgy"],
        ["От", "Отправлено", "Кому", "Тема"],
        ["Kimden", "Gönderildi", "Kime", "Konu"],
        ["מאת", "נשלח", "אל", "נושא"],
        ["差出人", "送信日時", "宛先", "件名"],
        ["发件人", "发送时间", "收件人", "主题"],
        ["보낸 사람", "보낸 날짜", "받는 사람", "제목"],
    ] {
        let block = format!(
            "{from}: Bob <bob@example.com>\n{sent}: 14.01.2025 09:12\n{to}: Alice <a@example.org>\n{subject}: Report\n\nOld text."
        );
        for above in ["", "________________________________\n", "-----Original Message-----\n"] {
            assert_eq!(new_text(&format!("New text.\n\n{above}{block}\n")), "New text.", "{above}{block}");
        }
    }
}

#[test]
fn answers_between_and_below_quotes_are_kept() {
    let body = "On 1/14/25 09:12, Bob wrote:\n> First question?\n\nFirst answer.\n\n> Second question?\n\nSecond answer.\n\n-- \nAlice\n";
    assert_eq!(new_text(body), "First answer.\n\nSecond answer.");
    let kinds: Vec<_> = segments(body).into_iter().map(|segment| segment.kind).collect();
    let expected = [
        SegmentKind::Attribution,
        SegmentKind::Quote,
        SegmentKind::New,
        SegmentKind::Quote,
        SegmentKind::New,
        SegmentKind::Signature,
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn forwards_are_apart_and_a_bare_forward_is_kept_whole() {
    let forward = "---------- Forwarded message ---------\nFrom: Bob <bob@example.com>\nDate: Tue, Jan 14, 2025 at 9:12 AM\nSubject: Bill\nTo: <a@example.org>\n\nThe bill is attached.";
    let found = segments(&format!("Please pay this.\n\n{forward}"));
    assert_eq!((found[0].kind, found[0].text.as_str()), (SegmentKind::New, "Please pay this."));
    assert_eq!((found[2].kind, found[2].text.as_str()), (SegmentKind::Forward, "The bill is attached."));
    assert_eq!(new_text(forward), forward);
}

#[test]
fn prose_that_looks_like_a_quote_stays_whole() {
    for body in [
        "On Monday I wrote:\nthat the price is fixed.\n\nIs this right?",
        "Please move the 14:00 meeting of 14 Jan 2025 with bob@example.com to one of:\n- 15:00\n- 16:00",
        "The customer wrote on 2025-01-14 that:\nhe will pay.",
        "Book these:\n\nFrom: Hamburg\nTo: Berlin\nDate: 14 January\nSubject: meeting",
        "The config:\n\nfrom: a@example.org\nto: b@example.org\ndate: 2025-01-14 09:12\n\nFix it.",
        "Session:\n>>> print(1)\n1\n>>> quit()",
        "name,from\n>100,x\nSort it.",
        "Log:\n```\n> From: a@example.org\n-- \nOn 14 Jan 2025 9:12 Bob <b@example.org> wrote:\n```\nWhy?",
        "Sent from the warehouse were 12 boxes.",
        "-- Message of the day --\nAll good.",
        "- one\n-- nested\n- two\n\nRun them in this order, and when all of them have been run, tell me what each of them has printed.",
    ] {
        assert_eq!(new_text(body), body);
    }
}

#[test]
fn signatures_of_people_and_phones_are_cut() {
    for signature in [
        "-- \nAlice\nACME",
        "--\nAlice",
        "Sent from my iPhone",
        "Von meinem iPhone gesendet",
        "iPhoneから送信",
        "Get Outlook for iOS<https://aka.ms/o0ukef>",
    ] {
        assert_eq!(new_text(&format!("New text.\n\n{signature}\n")), "New text.", "{signature}");
    }
}

#[test]
fn quotes_in_html_are_cut_too() {
    let html = "<div>New text.</div><br><div class=gmail_quote><div class=gmail_attr>On Tue, 14 Jan 2025 at 9:12 Bob &lt;bob@example.com&gt; wrote:<br></div><blockquote>Old text.</blockquote></div>";
    assert_eq!(read(mail("Content-Type: text/html", html)).email.new_text, "New text.");
    let outlook = "<p class=MsoNormal>New text.</p><div style='border-top:solid'><p class=MsoNormal><b>From:</b> Bob &lt;bob@example.com&gt;<br><b>Sent:</b> 14 January 2025 09:12<br><b>To:</b> Alice<br><b>Subject:</b> x</p></div><p>Old text.</p>";
    assert_eq!(read(mail("Content-Type: text/html", outlook)).email.new_text, "New text.");
}
