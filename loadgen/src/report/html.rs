//! A page that is one file: no script, nothing loaded from anywhere.

use std::fmt::Write as _;

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;max-width:60rem;margin:2rem auto;\
padding:0 1rem;color:#222;background:#fff}h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums}\
th,td{padding:.2rem .7rem;text-align:right;border-bottom:1px solid #ddd}\
th:first-child,td:first-child,.text td,.text th{text-align:left}\
svg{width:100%;height:auto}.good{color:#17692b}.bad{color:#b00020;font-weight:600}";

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
        let _ = write!(self.html, "<table{class}><tr>");
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
        self.html.push_str("</table>\n");
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
