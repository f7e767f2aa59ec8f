//! A page that is one file: no script, nothing loaded from anywhere.

use std::fmt::Write as _;

const STYLE: &str = r"
:root{color-scheme:light dark;--ink:#1c1e21;--paper:#fff;--line:#d9dce0;--soft:#5b6168;--good:#17692b;--bad:#b00020}
@media(prefers-color-scheme:dark){:root{--ink:#e4e6e8;--paper:#16181b;--line:#383c42;--soft:#a3a9b0;--good:#6fcf87;--bad:#ff7a86}}
*{box-sizing:border-box}
body{font:15px/1.45 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:var(--ink);background:var(--paper)}
h1{font-size:1.5rem;overflow-wrap:anywhere}h2{font-size:1.15rem;margin-top:2rem}
p{overflow-wrap:anywhere}.good{color:var(--good)}.bad{color:var(--bad);font-weight:600}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.2rem .7rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th{color:var(--soft);font-weight:600}
th:first-child,td:first-child,.text td,.text th{text-align:left}
.text td{white-space:normal;overflow-wrap:anywhere;vertical-align:top}
.text td:first-child{overflow-wrap:normal}
figure{margin:1rem 0}svg{display:block;width:100%;height:auto}
.phone{display:none}
@media(max-width:640px){body{margin:1rem auto}.desk{display:none}.phone{display:block}th,td{padding:.2rem .45rem}}
@media(prefers-color-scheme:dark){svg [fill='#FFFFFF']{fill:#16181b}svg [stroke='#FFFFFF']{stroke:#16181b}
svg text{fill:#e4e6e8}svg [stroke='#000000']{stroke:#c8ccd0}
svg [stroke='#0072B2']{stroke:#4aa8e0}svg [stroke='#D55E00']{stroke:#ff8a3d}svg [stroke='#009E73']{stroke:#3fd0a4}
svg [stroke='#A07800']{stroke:#e0b030}}
";
/// Nothing is loaded, and nothing runs.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// A page under construction.
#[derive(Debug)]
pub struct Page {
    html: String,
}

impl Page {
    /// An empty page.
    #[must_use]
    pub fn new(title: &str) -> Self {
        let title = escape(title);
        let html = format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\">\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\
             <title>{title}</title><style>{STYLE}</style></head><body><h1>{title}</h1>\n"
        );
        Self { html }
    }

    /// A heading.
    pub fn heading(&mut self, text: &str) {
        let _ = writeln!(self.html, "<h2>{}</h2>", escape(text));
    }

    /// A paragraph; `is_good` colours it.
    pub fn paragraph(&mut self, text: &str, is_good: Option<bool>) {
        let class = match is_good {
            None => "",
            Some(true) => " class=\"good\"",
            Some(false) => " class=\"bad\"",
        };
        let _ = writeln!(self.html, "<p{class}>{}</p>", escape(text));
    }

    /// A drawing, as SVG text of our own.
    pub fn drawing(&mut self, svg: &str) {
        let _ = writeln!(self.html, "<figure>{svg}</figure>");
    }

    /// A table; with `is_text` all cells are aligned to the left.
    pub fn table(&mut self, head: &[&str], rows: &[Vec<String>], is_text: bool) {
        let class = if is_text { " class=\"text\"" } else { "" };
        let _ = write!(self.html, "<div class=\"wide\"><table{class}><tr>");
        for cell in head {
            let _ = write!(self.html, "<th>{}</th>", escape(cell));
        }
        self.html.push_str("</tr>\n");
        for row in rows {
            self.html.push_str("<tr>");
            for cell in row {
                let _ = write!(self.html, "<td>{}</td>", escape(cell));
            }
            self.html.push_str("</tr>\n");
        }
        self.html.push_str("</table></div>\n");
    }

    /// The finished page.
    #[must_use]
    pub fn finish(mut self) -> String {
        self.html.push_str("</body></html>\n");
        self.html
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        let mut page = Page::new("a < b");
        page.paragraph("<script>", Some(true));
        page.table(&["x"], &[vec!["\"&\"".to_owned()]], true);
        let html = page.finish();
        assert!(!html.contains("<script>") && html.contains("&lt;script&gt;"));
        assert!(html.contains("<title>a &lt; b</title>") && html.contains("&quot;&amp;&quot;"));
    }
}
