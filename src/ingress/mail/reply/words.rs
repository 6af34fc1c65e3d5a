//! The words of mail programs in the languages they speak. All in lower case.

/// What an attribution says happened.
#[rustfmt::skip]
const VERBS: &[&str] = &[
    "wrote", "writes", "написа", "пишет", "написав", "пише", "schrieb", "geschrieben", "schreibt", "a écrit", "écrit", "a ecrit", "escribió", "escribio", "escribiu",
    "escrigué", "va escriure", "ha escrit", "ha scritto", "scrisse", "escreveu", "schreef", "geschreven", "het volgende", "skrev", "skrifaði", "kirjoitti",
    "kirjutas", "rašė", "parašė", "rakstīja", "napisał", "pisze", "napsal", "napísal", "írta", "a scris", "scria", "έγραψε", "έγραψαν", "yazdı", "yazmış", "כתב", "كتب",
    "نوشت", "đã viết", "viết", "menulis", "tulis", "wrota", "のメッセージ", "のメール", "さんは書き", "書きました", "写道", "寫道", "写到", "作成", "작성", "님이", "썼습니다",
    "เขียน", "लिखा", "napisa", "piše", "je pisal", "sendte", "schreven", "odesílatel", "odoslal", "idatzi", "ysgrifennodd", "scríobh", "gửi", "a trimis", "escreve", "escribe", "scrive",
];

/// Words with which attributions begin.
#[rustfmt::skip]
const OPENERS: &[&str] = &[
    "on", "am", "le", "el", "em", "il", "in", "op", "den", "w", "dne", "dňa", "dnia", "på", "la", "pe", "στις", "στο", "tarihinde", "ב", "בתאריך", "في", "pada", "vào", "no", "a", "il",
    "вт,", "пн,", "ср,", "чт,", "пт,", "сб,", "вс,", "от", "у", "o", "-------", "----", "em", "u",
];

/// Whether an attribution's verb stands in a text (in lower case).
pub(super) fn has_verb(lower: &str) -> bool {
    VERBS.iter().any(|verb| {
        let spaced = verb.starts_with(|c: char| c < '\u{e00}');
        lower.match_indices(verb).any(|(at, _)| !spaced || !lower[..at].ends_with(char::is_alphabetic))
    })
}

/// Whether a text (in lower case) begins as attributions do.
pub(super) fn has_opener(lower: &str) -> bool {
    lower.split_whitespace().next().is_some_and(|first| OPENERS.contains(&first))
}

/// What a line of a header block tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    /// Who wrote it.
    From,
    /// When.
    Date,
    /// To whom.
    To,
    /// Copies.
    Cc,
    /// About what.
    Subject,
    /// Anything else that mail programs list.
    Other,
}

#[rustfmt::skip]
const LABELS: &[(Label, &[&str])] = &[
    (Label::From, &["from", "von", "de", "da", "van", "från", "fra", "lähettäjä", "od", "feladó", "de la", "от", "від", "от кого", "από", "kimden", "gönderen", "מאת", "من", "từ", "dari", "差出人", "发件人", "寄件者", "寄件人", "發件人", "보낸 사람", "보낸사람", "จาก", "expéditeur", "expediteur", "mittente", "remitente", "remetente", "absender", "afzender", "avsender", "saatja", "nuo", "no", "送信者", "送信元", "发送者", "отправитель", "відправник", "pošiljatelj", "odesílatel", "odosielateľ"]),
    (Label::Date, &["date", "sent", "datum", "gesendet", "gesendet am", "date d'envoi", "envoyé", "envoyé le", "fecha", "enviado", "enviado el", "enviada", "enviada em", "enviado em", "enviat", "data", "inviato", "data invio", "verzonden", "verzonden op", "skickat", "sendt", "dato", "lähetetty", "päivämäärä", "päiväys", "wysłano", "wysłane", "odesláno", "odoslané", "dátum", "elküldve", "küldve", "trimis", "отправлено", "дата", "надіслано", "відправлено", "изпратено", "στάλθηκε", "ημερομηνία", "tarih", "gönderildi", "gönderilme", "gönderme tarihi", "נשלח", "תאריך", "تاريخ", "التاريخ", "تم الإرسال", "أرسل", "أُرسلت", "ngày", "đã gửi", "gửi", "dikirim", "tanggal", "terkirim", "送信日時", "日時", "日付", "发送时间", "发送日期", "日期", "傳送時間", "寄件日期", "보낸 날짜", "날짜", "보낸날짜", "วันที่", "ส่ง", "poslano", "saadetud", "kuupäev", "message du", "sent on", "am", "時間", "时间", "transmis"]),
    (Label::To, &["to", "an", "à", "a", "para", "aan", "til", "till", "vastaanottaja", "do", "dla", "komu", "címzett", "către", "catre", "кому", "до", "προς", "kime", "alıcı", "kimlere", "אל", "إلى", "الى", "đến", "tới", "kepada", "ke", "untuk", "宛先", "收件人", "收件者", "받는 사람", "받는사람", "ถึง", "per", "destinataire", "destinatario", "destinatário", "mottaker", "modtager", "prejemnik", "za", "kam", "kellele", "pour", "empfänger", "naar", "reply-to", "antwort an"]),
    (Label::Cc, &["cc", "kopie", "kopio", "kopia", "copie", "copie à", "cópia", "copia", "másolatot kap", "másolat", "dw", "копия", "копія", "κοιν.", "bilgi", "עותק", "نسخة", "抄送", "副本", "参照", "참조", "สำเนา", "bcc", "kópia", "tembusan", "cc:", "sao gửi"]),
    (Label::Subject, &["subject", "betreff", "objet", "asunto", "assunto", "oggetto", "onderwerp", "ämne", "emne", "aihe", "temat", "předmět", "predmet", "tárgy", "subiect", "тема", "относно", "θέμα", "konu", "נושא", "الموضوع", "موضوع", "chủ đề", "tiêu đề", "perihal", "subjek", "judul", "件名", "主题", "主旨", "主題", "제목", "เรื่อง", "assumpte", "zadeva", "teema", "sujet", "sujet :", "naslov", "tema", "hal"]),
    (Label::Other, &["importance", "priority", "attachments", "anlagen", "reply-to", "organization", "priorität", "wichtigkeit", "pièces jointes", "message-id", "mailed-by", "signed-by", "importancia", "archivos adjuntos", "newsgroups", "in-reply-to", "references", "x-mailer", "list", "bijlagen", "allegati", "priorité", "załączniki"]),
];

/// The label of a line of the form `Label: value`, with the value.
pub(super) fn label(body: &str) -> Option<(Label, &str)> {
    let body = body.trim_start_matches(['*', '|', ' ', '_', '\u{a0}']);
    let (name, value) = body.split_once([':', '：'])?;
    // Mail programs write labels with capitals; configuration files do not.
    if name.len() > 60 || name.trim_matches(['*', ' ', '_']).starts_with(|c: char| c.is_ascii_lowercase()) {
        return None;
    }
    let name = name.trim_matches(['*', ' ', '_', '|', '\u{a0}']).to_lowercase();
    let (label, _) = LABELS.iter().find(|(_, names)| names.contains(&name.as_str()))?;
    Some((*label, value.trim_start_matches('*').trim()))
}

/// Titles of separators above a quote.
#[rustfmt::skip]
const ORIGINALS: &[&str] = &[
    "original", "ursprüngliche", "ursprungliche", "originalnachricht", "reply message", "reply above", "message d'origine", "mensaje original", "mensagem original", "messaggio originale",
    "missatge original", "oorspronkelijk", "alkuperäinen", "wiadomość oryginalna", "oryginalna", "původní", "pôvodná", "eredeti", "mesaj original", "mesajul original", "исходное", "исходная", "оригинал", "вихідне", "оригінальне",
    "αρχικό", "αρχικού", "orijinal", "özgün", "הודעה מקורית", "الأصلية", "thư gốc", "gốc", "pesan asli", "asli", "元のメッセージ", "原始邮件", "原始郵件", "原始信件", "原邮件", "원본", "originalt", "opprinnelig", "ursprungligt", "izvirno", "izvorna",
    "algne", "původná", "previous message", "precedente", "vorherige", "quoted text", "odpowiedziano", "ข้อความเดิม", "message original", "reply to", "antwort auf", "replied to", "responded to", "nachricht", "mensaje", "messaggio", "mensagem", "bericht -", "meddelande", "melding", "wiadomość", "zpráva", "сообщение", "письмо", "メッセージ", "邮件", "message --", "message",
];

/// Titles of separators above a mail that is passed on.
#[rustfmt::skip]
const FORWARDS: &[&str] = &[
    "forwarded message", "begin forwarded", "forwarded by", "weitergeleitete nachricht", "weitergeleitet", "anfang der weitergeleiteten", "message transféré", "message transmis", "début du message", "mensaje reenviado", "inicio del mensaje", "mensagem encaminhada", "início da mensagem", "messaggio inoltrato",
    "inizio messaggio", "doorgestuurd", "begin doorgestuurd", "vidarebefordra", "videresendt", "videresend", "välitetty", "przekazana", "přeposlaná", "továbbított", "mesaj redirecționat", "пересылаемое", "пересланное", "переслане", "προωθημένο", "iletilen", "yönlendirilen", "הועברה", "معاد توجيهها", "được chuyển tiếp", "diteruskan", "転送", "转发", "轉寄", "전달된", "forwarded mail", "fwd:",
];

/// Whether a separator's title (in lower case) is that of a quoted mail.
pub(super) fn is_original(lower: &str) -> bool {
    ORIGINALS.iter().any(|title| lower.contains(title))
}

/// Whether a separator's title (in lower case) is that of a mail passed on.
pub(super) fn is_forward(lower: &str) -> bool {
    FORWARDS.iter().any(|title| lower.contains(title))
}

/// How subjects of mails that are passed on begin, before a colon.
#[rustfmt::skip]
const FORWARD_SUBJECTS: &[&str] = &[
    "fw", "fwd", "wg", "tr", "rv", "enc", "i", "doorst", "vs", "vb", "vl", "pd", "yml", "továbbítás", "továbbítva", "fs", "mt", "rif", "προωθ", "πρθ", "ilt", "i̇lt", "הועבר", "إعادة توجيه", "转发", "轉寄", "転送", "전달", "chuyển tiếp", "trs", "переслано", "пересл", "fyi",
];

/// Whether a subject says that the mail passes another one on.
pub(super) fn is_forward_subject(subject: &str) -> bool {
    let lower = subject.trim_start().to_lowercase();
    let prefix = lower.split([':', '：']).next().unwrap_or_default().trim();
    prefix.len() < lower.len() && FORWARD_SUBJECTS.contains(&prefix)
}

/// How the lines begin that phones and programs put under a mail.
#[rustfmt::skip]
const DEVICES: &[&str] = &[
    "sent from", "sent via", "sent with", "sent using", "sent by", "get outlook for", "get the outlook", "download outlook", "von meinem", "gesendet von", "gesendet mit", "von samsung mobile", "diese nachricht wurde von meinem", "envoyé de", "envoyé depuis", "envoyé à partir", "envoyé avec", "envoyé par", "enviado desde", "enviado de", "enviado do",
    "enviado con", "enviado com", "enviado por", "enviat des", "enviat de", "inviato da", "inviato con", "verzonden vanaf", "verzonden met", "verstuurd vanaf", "verstuurd met", "skickat från", "skickat fran", "sendt fra", "lähetetty ", "wysłano z", "wysłane z", "odesláno z", "odoslané z", "az iphone", "küldve", "trimis de pe",
    "trimis din", "отправлено с", "отправлено из", "надіслано з", "відправлено з", "изпратено от", "στάλθηκε από", "απεστάλη από", "iphone'umdan", "ipad'imden", "נשלח מ", "أُرسلت من", "أرسلت من", "تم الإرسال من", "được gửi từ", "đã gửi từ", "gửi từ", "dikirim dari", "iphoneから", "ipadから", "androidから", "发自我的", "发自", "從我的", "来自我的", "傳送自", "我的iphone", "나의 iphone", "내 iphone", "iphone에서", "outlook für", "outlook pour", "télécharger outlook", "outlook voor", "obtener outlook", "obtenha o outlook", "scarica outlook", "hanki outlook", "hämta outlook", "hent outlook", "pobierz outlook", "yahoo mail", "mobile mail", "posted from", "typed on", "composed on", "sent on", "mailed from", "poslano z", "poslano s", "poslané z", "poslato sa", "enviado", "ส่งจาก", "من الـ", "من جهاز", "ارسال شده از", "saadetud minu", "nosūtīts no", "išsiųsta iš", "bidalita", "sent on the go", "holen sie sich outlook", "obtenez outlook", "download de outlook", "baixe o outlook", "herunterladen",
];

/// What such lines name.
#[rustfmt::skip]
const DEVICE_NAMES: &[&str] = &[
    "iphon", "ipad", "ipod", "android", "phone", "fon", "telef", "téléph", "mobil", "móvil", "movil", "celular", "handy", "outlook", "mail", "yahoo", "samsung", "galaxy", "blackberry",
    "huawei", "xiaomi", "redmi", "windows", "pixel", "spark", "tablet", "smart", "device", "gerät", "appareil", "手机", "手機", "携帯", "スマ", "휴대", "nokia", "sony", "htc", "motorola", "zimbra",
    "front", " app", "телефон", "айфон", "планшет", "android", "gsm", "bq", "treo", "palm", "wireless", "κινητό", "נייד", "الهاتف", "جهاز", "điện thoại", "ponsel", "มือถือ", "proton", "hey", "airmail", "thunderbird", "mac",
];

/// Whether a line (in lower case) is what a device adds.
pub(super) fn is_device(lower: &str) -> bool {
    let form = DEVICES.iter().any(|start| lower.starts_with(start))
        || ["gönderildi", "から送信", "에서 보냄", "gesendet", "küldve", "elküldve", "寄出"]
            .iter()
            .any(|end| lower.ends_with(end));
    form && DEVICE_NAMES.iter().any(|name| lower.contains(name))
}
