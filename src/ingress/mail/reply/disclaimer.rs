//! What companies put under every mail.

use crate::ingress::mail::reply::line::Line;

/// Paragraphs of a disclaimer, as translations and links to the imprint make them.
const PARAGRAPHS: usize = 6;
/// Bytes of the shortest paragraph that is one by its words.
const BYTES: usize = 100;

/// Stems of the words that disclaimers consist of, by what they mean. In lower case.
#[rustfmt::skip]
const STEMS: &[&[&str]] = &[
    &["confidential", "vertraulich", "confidentiel", "confidencial", "riservat", "confidenzial", "vertrouwelijk", "konfidenti", "fortrolig", "luottamuksel", "poufn", "důvěrn", "dôvern", "bizalmas", "confidenţial", "confidențial", "конфиденциал", "конфіденцій", "поверител", "εμπιστευτικ", "gizli", "חסוי", "سري", "mật", "rahasia", "機密", "机密", "保密", "기밀", "privileged", "geheim"],
    &["intended recipient", "addressee", "intended for", "intended only", "intended solely", "empfänger", "adressat", "destinataire", "destinatari", "destinatário", "geadresseerde", "ontvanger", "mottagar", "modtager", "mottaker", "vastaanottaj", "adresat", "adresát", "příjemc", "címzett", "destinatar", "адресат", "получател", "одержувач", "παραλήπτ", "alıcı", "נמען", "المستلم", "người nhận", "penerima", "受信者", "收件人", "수신인", "宛先"],
    &["delete", "destroy", "lösch", "vernicht", "supprim", "détrui", "elimin", "borr", "destru", "apag", "cancell", "distrugg", "verwijder", "radera", "slett", "poista", "usun", "smazat", "smaž", "vymaz", "töröl", "șterge", "ştergeţi", "удалит", "видал", "διαγρά", "silin", "מחק", "حذف", "xóa", "hapus", "削除", "删除", "刪除", "삭제", "notify the sender", "notify us", "informieren sie"],
    &["unauthori", "unbefugt", "unerlaubt", "non autoris", "no autorizad", "não autorizad", "non autorizzat", "onbevoegd", "obehörig", "uautoriser", "prohibited", "verboten", "interdit", "prohibid", "proibid", "vietat", "verboden", "förbjud", "zabron", "zakázán", "tilos", "interzis", "запрещ", "заборон", "απαγορεύ", "yasak", "禁止", "금지", "dissemination", "disclosure", "weitergabe", "divulgation", "divulgación"],
];

/// Where in `lines[start..end]`, a stretch of new text, a disclaimer begins that reaches to its end; `end` when there is
/// none. It never is all of the stretch.
pub(super) fn start(lines: &[Line<'_>], start: usize, end: usize) -> usize {
    let mut found = end;
    let mut below = end;
    for _ in 0..PARAGRAPHS {
        let Some(last) = (start..below).rev().find(|at| !lines[*at].is_blank()) else { break };
        let first = (start..=last).rev().find(|at| *at == start || lines[*at - 1].is_blank()).unwrap_or(last);
        if first == start {
            break;
        }
        let size: usize = lines[first..=last].iter().map(|line| line.body.len()).sum();
        if lines[first..=last].iter().any(|line| line.fenced) || size > 8_000 {
            break;
        }
        let text: String = lines[first..=last].iter().flat_map(|line| [line.body, " "]).collect();
        // Who asks about such words writes no disclaimer.
        let asks = text.contains(['?', '？', '؟']);
        if size >= BYTES && !asks && meanings(&text.to_lowercase()) >= 2 {
            found = first;
        } else if size >= BYTES {
            break;
        }
        below = first;
    }
    found
}

fn meanings(lower: &str) -> usize {
    STEMS.iter().filter(|stems| stems.iter().any(|stem| lower.contains(stem))).count()
}
