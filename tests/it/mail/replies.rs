//! New text apart from quotes, in the ways and languages in which mail programs quote.

use super::{mail, read};
use postern::domain::segment::SegmentKind;
use postern::{domain::event::Email, ingress::mail::segment};

fn new_text(body: &str) -> String {
    read(mail("Content-Type: text/plain; charset=utf-8", body)).email.new_text
}

fn pieces(email: &Email) -> Vec<(SegmentKind, &str)> {
    email.pieces().collect()
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
    let email = read(mail("Content-Type: text/plain", body)).email;
    assert_eq!(email.new_text, "> First question?\n\nFirst answer.\n\n> Second question?\n\nSecond answer.");
    let kinds: Vec<_> = email.pieces().map(|(kind, _)| kind).collect();
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
    let email = read(mail("Content-Type: text/plain", &format!("Please pay this.\n\n{forward}"))).email;
    let found = pieces(&email);
    assert_eq!(found[0], (SegmentKind::New, "Please pay this."));
    assert_eq!(found[2], (SegmentKind::Forward, "The bill is attached."));
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
        "Translate:\n\n> Guten Tag\n> Auf Wiedersehen\n\nto French, please.",
        "We got the order from Bob <bob@example.com> on 14 January 2025 at 09:12:\n\n- 12 chairs\n\nPlease confirm.",
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

#[test]
fn attributions_in_languages_that_nobody_listed_are_cut() {
    for attribution in [
        "Ar Maw, 14 Ion 2025 am 09:12 ysgrifennodd Bob Example <bob@example.com>:",
        "Bob Example (<bob@example.com>) erabiltzaileak hau idatzi zuen (2025 urt. 14, ar. (09:12)):",
        "Mnamo Jum, 14 Jan 2025 saa 09:12 Bob Example <bob@example.com> aliandika:",
        "Noong Mar, Ene 14, 2025 nang 9:12 AM, isinulat ni Bob Example <bob@example.com>:",
        "मंगल, 14 जन॰ 2025 को 9:12 am बजे को Bob Example <bob@example.com> ने लिखा:",
        "სამ, 14 იან. 2025, 09:12-ზე, Bob Example <bob@example.com>-მა დაწერა:",
        "Tir 14/1/2025 9.12 Bob Example\n<bob@example.com> blorpu:",
    ] {
        for quote in ["> Old text of January.\n> More of it.", "Old text of January.\n\nMore of it."] {
            assert_eq!(new_text(&format!("New text.\n\n{attribution}\n\n{quote}\n")), "New text.", "{attribution}");
        }
    }
}

/// A mail with both parts.
fn both(text: &str, html: &str) -> Email {
    let parts = [
        format!("Content-Type: text/plain; charset=utf-8\n\n{text}\n"),
        format!("Content-Type: text/html; charset=utf-8\n\n{html}\n"),
    ];
    read(super::multipart("alternative", &[&parts[0], &parts[1]])).email
}

#[test]
fn the_html_says_where_the_text_is_quoted_when_its_words_do_not() {
    let text = "New text.\n\nQwx zuv pqr\n\nOld text of January.\nMore of it.";
    for html in [
        "<div>New text.</div><div class=gmail_quote><div class=gmail_attr>Qwx zuv pqr<br></div><blockquote class=gmail_quote>Old text of January.<br>More of it.</blockquote></div>",
        "<div>New text.</div><div class='x_yahoo_quoted' id='yahoo_quoted_1'>Qwx zuv pqr<div>Old text of January.<br>More of it.</div></div>",
        "<p>New text.</p><div id=appendonsend></div><hr><div id=divRplyFwdMsg>Qwx zuv pqr</div><p>Old text of January. More of it.</p>",
        "<p>New text.</p><div class=moz-cite-prefix>Qwx zuv pqr</div><blockquote type=cite>Old text of January. More of it.</blockquote>",
        "<div>New text.</div><hr id=zwchr data-marker=__DIVIDER__><div data-marker=__HEADERS__>Qwx zuv pqr</div>Old text of January. More of it.",
    ] {
        let email = both(text, html);
        assert_eq!(email.new_text, "New text.", "{html}");
        let whole = email.pieces().flat_map(|(_, piece)| piece.lines()).filter(|line| !line.is_empty()).count();
        assert_eq!(whole, 4, "nothing is dropped: {:?}", email.segments);
    }
}

#[test]
fn what_stands_below_a_quote_in_html_stays_new() {
    let html = "<div class=gmail_quote><div class=gmail_attr>Qwx zuv pqr</div><blockquote class=gmail_quote>Old text of January.</blockquote></div><div>My answer stands below.</div>";
    let email = both("Qwx zuv pqr\n\n> Old text of January.\n\nMy answer stands below.", html);
    assert_eq!(email.new_text, "My answer stands below.");
}

#[test]
fn a_page_that_is_all_quote_is_kept_whole() {
    let html = "<blockquote type=cite><p>Please order twelve of them.</p></blockquote>";
    assert!(read(mail("Content-Type: text/html", html)).email.new_text.contains("Please order twelve of them."));
}

#[test]
fn disclaimers_are_apart_and_questions_about_them_are_not() {
    let notice = "This e-mail is confidential and intended solely for the addressee. If you are not the intended recipient, please delete it at once and notify the sender.";
    let email = read(mail("Content-Type: text/plain", &format!("New text.\n\n-- \nAlice\n\n{notice}"))).email;
    let kinds: Vec<_> = email.pieces().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [SegmentKind::New, SegmentKind::Signature, SegmentKind::Disclaimer]);
    let question = format!("New text.\n\n{notice} Is that clause valid?");
    assert_eq!(new_text(&question), question);
}

#[test]
fn what_we_remember_of_a_thread_is_quotation_in_any_client_and_language() {
    let ours = "Thank you for your order of **twelve** chairs.\n\nThey leave our house on Friday and should be with you on Monday; the invoice is attached.";
    let body = "Fine, but please make it ten.\n\nQwx zuv:\n\nThank you for your order of twelve\nchairs.\n\nThey leave our house on Friday and should\nbe with you on Monday; the invoice is\nattached.\n\nAnd when is Monday?";
    let mut email = read(mail("Content-Type: text/plain", body)).email;
    assert!(email.new_text.contains("leave our house"));
    segment(&mut email, &[ours]);
    assert_eq!(email.new_text, "Fine, but please make it ten.\n\nQwx zuv:\n\nAnd when is Monday?");
    let quoted: Vec<_> = pieces(&email).into_iter().filter(|(kind, _)| *kind == SegmentKind::Quote).collect();
    assert!(quoted.len() == 1 && quoted[0].1.starts_with("Thank you") && quoted[0].1.ends_with("attached."));
}

#[test]
fn a_mail_that_only_repeats_what_we_remember_is_kept_whole() {
    let text = "Please send me the invoice of January, and the one of February too.";
    let mut email = read(mail("Content-Type: text/plain", text)).email;
    segment(&mut email, &[text]);
    assert_eq!(email.new_text, text);
}
