"""Makes the corpus: `python make.py`, in an environment with pandas, xlsxwriter and this project's dependencies.

LibreOffice (`soffice`, here 7.4.7) converts what is in `sources/`; pandas 3.1, XlsxWriter and the Python libraries
write the rest. The results are committed, with the text that is expected of each (`<file>.expected`), which was
compared by eye with the sources; they need to be made again only when a case is added.
"""

import datetime
import shutil
import subprocess
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def libreoffice() -> None:
    for source, kind in (
        ("report.fodt", "docx"),
        ("report.fodt", "pdf"),
        ("budget.fods", "xlsx"),
        ("budget.fods", "pdf"),
        ("talk.fodp", "pptx"),
        ("talk.fodp", "pdf"),
    ):
        stem = source.partition(".")[0]
        subprocess.run(
            ["soffice", "--headless", "--convert-to", kind, "--outdir", HERE / "out", HERE / "sources" / source],
            check=True,
        )
        shutil.move(HERE / "out" / f"{stem}.{kind}", HERE / f"libreoffice-{stem}.{kind}")
    (HERE / "out").rmdir()


def pandas() -> None:
    import pandas as pd

    sales = pd.DataFrame(
        {
            "day": pd.to_datetime(["2026-01-02", "2026-01-03", None]),
            "ship": ["Ålesund", "Nº 5 | tug", "Ωmega"],
            "tonnes": [1200.25, None, 3.0],
            "paid": [True, False, True],
        }
    )
    months = pd.DataFrame({"count": [3, 4]}, index=pd.Index(["Jan", "Feb"], name="month"))
    for engine in ("openpyxl", "xlsxwriter"):
        with pd.ExcelWriter(HERE / f"pandas-{engine}.xlsx", engine=engine) as writer:
            sales.to_excel(writer, sheet_name="Sales", index=False)
            months.to_excel(writer, sheet_name="By month")
    sales.to_csv(HERE / "pandas.csv", index=False)
    sales.to_html(HERE / "pandas.html", index=False)
    sales.to_json(HERE / "pandas.json", orient="records", date_format="iso", indent=2)


def word() -> None:
    import docx
    from docx.enum.text import WD_BREAK
    from docx.oxml import parse_xml
    from docx.oxml.ns import nsdecls
    from docx.shared import Cm

    document = docx.Document()
    section = document.sections[0]
    section.different_first_page_header_footer = True
    section.first_page_header.paragraphs[0].text = "Only on the first page"
    section.header.paragraphs[0].text = "Minutes\tof the board"
    section.footer.add_table(1, 2, Cm(10)).rows[0].cells[0].text = "Footer in a table"
    document.add_heading("Minutes", 0)
    document.add_heading("Present", 1)
    document.add_paragraph("Ann", style="List Bullet")
    document.add_paragraph("Bo 👋", style="List Bullet")
    document.add_paragraph("First decision", style="List Number")
    table = document.add_table(3, 2)
    for row, texts in zip(table.rows, (("Item", "Decision"), ("Crane", "buy | lease"), ("Shed", "")), strict=True):
        for cell, text in zip(row.cells, texts, strict=True):
            cell.text = text
    table.rows[2].cells[1].add_table(1, 2).rows[0].cells[0].text = "nested"
    document.add_heading("Next time", 2)
    paragraph = document.add_paragraph("Before the break")
    paragraph.add_run().add_break(WD_BREAK.PAGE)
    paragraph.add_run("after the break, 会議 in Tōkyō.")
    # What Word writes for tracked changes and for content controls, and what the library itself cannot see.
    paragraph._p.append(parse_xml(f"<w:ins {nsdecls('w')}><w:r><w:t> Inserted.</w:t></w:r></w:ins>"))
    paragraph._p.append(parse_xml(f"<w:del {nsdecls('w')}><w:r><w:delText> Deleted.</w:delText></w:r></w:del>"))
    control = (
        f"<w:sdt {nsdecls('w')}><w:sdtContent><w:p><w:r><w:t>In a control</w:t></w:r></w:p></w:sdtContent></w:sdt>"
    )
    document.element.body.insert(-1, parse_xml(control))
    document.save(str(HERE / "python-docx.docx"))


def sheets() -> None:
    import openpyxl

    book = openpyxl.Workbook()
    sheet: Any = book.active
    sheet.title = "Plan & cost"
    sheet.oddHeader.center.text = "Page &P of &N"
    sheet.oddFooter.left.text = "Confidential"
    sheet.append(["When", "What", "How many"])
    sheet.append([datetime.datetime.fromisoformat("2026-05-01 08:30"), "a\nline", 0.1 + 0.2])
    sheet.append([datetime.date(2026, 5, 2), "<b>&", 12345678901])
    sheet.append([datetime.time(9, 5), "sum", "=SUM(C2:C3)"])
    sheet["A8"] = "Another table"
    sheet.merge_cells("A8:C8")
    hidden = book.create_sheet("Attic")
    hidden.sheet_state = "hidden"
    hidden["C2"] = "#N/A"
    book.create_sheet("Empty")
    book.save(HERE / "openpyxl.xlsx")


def slides() -> None:
    from pptx import Presentation
    from pptx.chart.data import CategoryChartData
    from pptx.enum.chart import XL_CHART_TYPE
    from pptx.util import Inches

    deck = Presentation()
    first = deck.slides.add_slide(deck.slide_layouts[1])
    first.shapes.title.text = "Welcome\vaboard"
    body = first.placeholders[1].text_frame
    body.text = "Point one"
    point = body.add_paragraph()
    point.text, point.level = "Point one and a half", 1
    first.notes_slide.notes_text_frame.text = "Wave at the audience."
    second = deck.slides.add_slide(deck.slide_layouts[5])
    second.shapes.title.text = "Figures"
    table = second.shapes.add_table(2, 2, Inches(1), Inches(2), Inches(4), Inches(1)).table
    for cell, text in zip(table.iter_cells(), ("Year", "Sum", "2026", "7 | 8"), strict=True):
        cell.text = text
    data: Any = CategoryChartData()  # type: ignore[no-untyped-call]
    data.categories = ["East", "West"]
    data.add_series("Q1", (19.2, 21.4))
    data.add_series("Q2", (None, 3))
    chart = second.shapes.add_chart(
        XL_CHART_TYPE.COLUMN_CLUSTERED, Inches(1), Inches(4), Inches(4), Inches(3), data
    ).chart
    chart.has_title = True
    chart.chart_title.text_frame.text = "By side"
    third = deck.slides.add_slide(deck.slide_layouts[6])
    third._element.set("show", "0")
    group = third.shapes.add_group_shape()
    group.shapes.add_textbox(0, 0, Inches(1), Inches(1)).text_frame.text = "In a group"
    deck.save(str(HERE / "python-pptx.pptx"))


def texts() -> None:
    for name, text, encoding in (
        (
            "windows-1252.txt",
            "Der Kran am Kai ist größer als jener – und schöner. Er kostet 5 € je Stunde.\r\nÜber uns: Straße 7.\r\n",
            "cp1252",
        ),
        ("utf-16.txt", "Crane №1: 300 zł\r\nŻuraw stoi.\r\n", "utf-16"),
        (
            "shift-jis.txt",
            "港の報告書です。クレーンは新しくなりました。\n料金は一時間あたり五百円です。ありがとうございます。\n",
            "shift_jis",
        ),
        ("gb18030.txt", "港口报告：起重机已经更换。\n每小时费用为五百元。谢谢大家的支持和帮助。\n", "gb18030"),
        (
            "windows-1251.txt",
            "Отчёт порта: кран заменён, причал открыт.\nСтоимость часа работы составляет пятьсот рублей.\n",
            "cp1251",
        ),
        ("readme.md", "# Title\n\n- one\n- two\n\n| a | b |\n| - | - |\n| 1 | 2 |\n", "utf-8-sig"),
        ("program.py", 'def greet(name: str) -> str:\n    return f"Grüße, {name}!"\n', "utf-8"),
    ):
        (HERE / name).write_bytes(text.encode(encoding))
    page = """<!DOCTYPE html><html><head><meta charset="iso-8859-1"><title>Prices é</title>
<style>p{color:red}</style><script>alert("no")</script></head><body><nav><a href="/a">Home</a></nav>
<h1>Prices</h1><p>As of <b>May</b>.<br>Café</p><ul><li>one<ul><li>nested</li></ul></li><li>two</li></ul>
<table><thead><tr><th>Item</th><th>Cost</th></tr></thead><tbody><tr><td>Tug</td><td>5</td></tr></tbody></table>
<pre>x = 1
y = 2</pre><footer>Bye</footer></body></html>"""
    (HERE / "page.html").write_bytes(page.encode("iso-8859-1"))


if __name__ == "__main__":
    for make in (libreoffice, pandas, word, sheets, slides, texts):
        make()
