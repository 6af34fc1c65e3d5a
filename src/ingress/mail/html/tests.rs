use super::{Images, to_markdown};

fn text(html: &str) -> String {
    to_markdown(html, &Images::new(), 1 << 20)
}

#[test]
fn blocks_lists_and_links_stay_readable() {
    assert_eq!(text("<div>l1</div><div>l2</div>"), "l1\nl2");
    assert_eq!(text("<ul><li>one<li>two<ol><li>a</li></ol></ul>x"), "- one\n- two\n  1. a\n\nx");
    assert_eq!(text("<ol start=3><li>c<li>d<ul><li>e<br>f</ul><li value=9>i</ol>"), "3. c\n4. d\n   - e\n     f\n9. i");
    assert_eq!(text("<ul><li><p>a</p><p>b</p></li><li><p>c</p></li></ul>"), "- a\n\n  b\n- c");
    assert_eq!(text("a <a href='https://e.org/x?a=1&amp;b=2'>here</a>."), "a [here](https://e.org/x?a=1&b=2).");
    assert_eq!(
        text("<a href='https://e.org/'>e.org</a> <a href='mailto:a@e.org?subject=x'>a@e.org</a>"),
        "e.org a@e.org"
    );
    assert_eq!(text("<a href='javascript:alert(1)'>x</a> <a href='data:text/html,y'>y</a>"), "x y");
    assert_eq!(
        text("<p>a &amp; b&nbsp;&#8364;</p><blockquote>q<br>r<blockquote>s</blockquote></blockquote>t"),
        "a & b €\n\n> q\n> r\n> > s\n\nt"
    );
    assert_eq!(text("<h1>T</h1><p>x</p><h3></h3><h2><b>U</b> v</h2>y"), "# T\n\nx\n\n## U v\n\ny");
    assert_eq!(text("use <code>a b</code>, not <del>c</del>"), "use `a b`, not ~~c~~");
}

#[test]
fn tables_of_data_are_drawn_and_others_are_lines() {
    assert_eq!(
        text("<table><tr><th>Item<th>Qty<tr><td>Bolt|x<td>12</table>after"),
        "| Item | Qty |\n| --- | --- |\n| Bolt\\|x | 12 |\n\nafter"
    );
    assert_eq!(text("<table><tr><td>Name:</td><td></td><td>Al</td></tr></table>"), "Name: | Al");
    assert_eq!(text("<table><tr><td><table><tr><td>Hi,<br><br>you</table><tr><td>Bye</table>"), "Hi,\n\nyou\nBye");
    assert_eq!(
        text("<table border=1><tr><td colspan=2>A<tr><td>1<td><a href='https://e.org/b'>2</a></table>"),
        "|  | A |\n| --- | --- |\n| 1 | [2](https://e.org/b) |"
    );
}

#[test]
fn lines_of_mail_programs_stay_lines() {
    assert_eq!(text("<div>a</div><div><br></div><div>b</div>"), "a\n\nb");
    let outlook = "<p class=MsoNormal>a<o:p></o:p></p><p class=MsoNormal><o:p>&nbsp;</o:p></p><p class=MsoNormal>b</p>";
    assert_eq!(text(outlook), "a\n\nb");
    assert_eq!(text("<div style='white-space:pre-wrap'>a\n  b</div>c d\ne"), "a\n  b\nc d e");
    assert_eq!(text("<pre>a\n  b</pre>"), "a\n  b");
    assert_eq!(text("<pre><code>x\n\ny</code></pre>z"), "```\nx\n\ny\n```\n\nz");
    assert_eq!(
        text("<!--[if mso]><p>M</p><![endif]-->a<![if !mso]>b<![endif]><!--[if !mso]><!-->c<!--<![endif]-->"),
        "abc"
    );
}

#[test]
fn pictures_of_the_mail_are_named_in_the_text() {
    let images = Images::from([("i1@x".to_owned(), "chart.png".to_owned())]);
    let html = "a <img src='cid:I1@x' alt=y> <img src='https://e.org/p.gif' width=1 alt=p> <img src='https://e.org/l' alt='Logo'> <img src='data:image/png;base64,AAAA'>b";
    assert_eq!(to_markdown(html, &images, 1 << 20), "a [image: chart.png] [image: Logo] b");
}

#[test]
fn what_nobody_sees_is_left_out() {
    let page = "<head><title>T</title></head><p>SEEN</p><div style='display : none'>A<div>B</div></div>\
                <span style=\"font-size:0\">C</span><p style='color:#fff;background:#fff'>D</p><!-- E -->\
                <script>F</script><img src='data:image/png;base64,AAAA'><p>END</p>";
    assert_eq!(text(page), "SEEN\n\nEND");
    for hidden in [
        "<div bgcolor=white style='background:#fff'><font color=white>H</font></div>",
        "<table bgcolor='#ffffff'><tr><td><span style='color:#FEFEFE'>H</span></table>",
        "<style>.pre, p.x { display:none } #y{font-size:1px}</style><i class='a pre'>H</i><i id=y>H</i>",
        "<span style='font-size:1px;line-height:1px'>H</span>",
        "<div style='max-height:0px;overflow:hidden;mso-hide:all'>H</div>",
        "<div style='position:absolute;left:-9999px'>H</div>",
        "<span style='color:transparent'>H</span>",
        "<div style='visibility:hidden'><p>H</p></div>",
        "<div hidden>H</div>",
        "<div style='opacity:0'><span style='opacity:1'>H</span></div>",
        "<table><tr><td style='display:none'>H<table><tr><td>H</table>H</td></tr></table>",
    ] {
        assert_eq!(text(&format!("<p>a</p>{hidden}<p>b</p>")), "a\n\nb", "{hidden}");
    }
}

#[test]
fn what_people_see_stays_however_it_is_styled() {
    for shown in [
        "<table><tr><td style='font-size:0px'><div style='font-size:13px'>S</div></td></tr></table>",
        "<div style='background:#1a73e8'><a style='color:#fff'>S</a></div>",
        "<td bgcolor='#000'><font color='#ffffff'>S</font></td>",
        "<div style='visibility:hidden'><span style='visibility:visible'>S</span></div>",
        "<style>@media (max-width:600px){.m{display:none}}</style><div class=m>S</div>",
        "<div style='color:#fff;background:url(x.png)'>S</div>",
        "<head><meta charset=utf-8><div>S</div>",
        "<table><tr><td style='display:none'>H<td>S</table>",
        "<p style='display:none'>H<p>S",
    ] {
        assert_eq!(text(shown), "S", "{shown}");
    }
}

#[test]
fn output_is_bounded_however_deep_the_quotes() {
    let deep = format!("{}{}", "<blockquote>".repeat(5000), "x<br>".repeat(200_000));
    assert!(to_markdown(&deep, &Images::new(), 100_000).len() < 110_000);
    assert!(text(&format!("{}x", "<ul><li>".repeat(20_000))).len() < 100);
}
