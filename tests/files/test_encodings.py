"""Short texts are read in the encodings that people's programs write: Excel's CSV, Notepad's text, web pages."""

import pytest

from app.files.extraction.models import DocumentLimits
from app.files.extraction.reader import DocumentReader
from app.files.refusals import DocumentRefused
from tests.files import hostile
from tests.files.conftest import Served
from tests.files.in_process import read

TEXTS = [
    ("gbk", "姓名,电话,备注\r\n张伟,13800000000,已付\r\n李娜,13900000000,未付\r\n"),
    ("gbk", "会议纪要"),
    ("gbk", "你好"),
    ("gbk", "今天天气很好，我们去公园散步。"),
    ("gbk", "订单编号,客户名称,数量\r\n1001,北京科技有限公司,5\r\n"),
    ("gb18030", "龍𠮷,測試"),
    ("gbk", "产品,价格\r\n苹果,5.00\r\n香蕉,3.50\r\n"),
    ("big5", "姓名,電話,備註\r\n陳大文,0912345678,已付\r\n"),
    ("big5", "會議記錄"),
    ("big5", "你好，世界"),
    ("big5", "產品,價格\r\n蘋果,5\r\n"),
    ("cp932", "名前,電話,備考\r\n山田太郎,090-1234-5678,済\r\n"),
    ("cp932", "会議の議事録"),
    ("cp932", "こんにちは"),
    ("cp932", "ﾔﾏﾀﾞ ﾀﾛｳ,東京都"),
    ("cp932", "商品名,数量\r\nりんご,5\r\nみかん,3\r\n"),
    ("euc_jp", "こんにちは世界"),
    ("euc_jp", "名前,住所\r\n山田,東京\r\n"),
    ("euc_jp", "会議の議事録です"),
    ("cp949", "안녕하세요"),
    ("cp949", "이름,전화번호,비고\r\n김철수,010-1234-5678,완료\r\n"),
    ("cp949", "회의록"),
    ("cp949", "제품명,가격\r\n사과,1000\r\n"),
    ("cp1251", "Привет, мир\r\n"),
    ("cp1251", "Имя;Телефон;Примечание\r\nИванов;123;оплачено\r\n"),
    ("cp1251", "Отчёт"),
    ("cp1251", "Доброго дня, Україно! Це є їжа"),
    ("cp1251", "ДОГОВОР № 5"),
    ("cp1251", "Здравей, свят"),
    ("koi8_r", "Привет, мир"),
    ("koi8_r", "Отчёт о продажах за январь"),
    ("koi8_u", "Їжак і єнот"),
    ("cp866", "Привет, как дела"),
    ("cp1252", "Café crème"),
    ("cp1252", "Déjà vu à l'école"),
    ("cp1252", "Größe;Straße;Müller\r\n"),
    ("cp1252", "año niño mañana"),
    ("cp1252", "São João, não"),
    ("cp1252", "smörgåsbord på svenska"),
    ("cp1252", "Rødgrød med fløde"),
    ("cp1252", "“quoted” – dash"),
    ("cp1252", "naïve"),
    ("cp1252", "Prix: 5 €"),
    ("cp1252", "Città è più"),
    ("cp1252", "Élève;Âge\r\nZoé;12\r\nFrançois;11\r\n"),
    ("cp1250", "Zażółć gęślą jaźń"),
    ("cp1250", "Příliš žluťoučký kůň"),
    ("cp1250", "Imię;Nazwisko;Miejscowość\r\nŁukasz;Wiśniewski;Łódź\r\n"),
    ("cp1250", "Dobrý deň, ako sa máte? Ľubovoľný"),
    ("cp1250", "Árvíztűrő tükörfúrógép"),
    ("cp1250", "Jméno;Příjmení\r\nJiří;Dvořák\r\n"),
    ("cp1250", "čaj šećer žena"),
    ("cp1253", "Καλημέρα κόσμε"),
    ("cp1253", "Όνομα;Τηλέφωνο\r\nΓιώργος;210\r\n"),
    ("cp1253", "ΑΘΗΝΑ"),
    ("cp1254", "Türkçe ağaç ışık"),
    ("cp1254", "İsim;Şehir\r\nAyşe;İstanbul\r\n"),
    ("cp1254", "Günaydın, nasılsın?"),
    ("cp1255", "שלום עולם"),
    ("cp1255", "שם,טלפון\r\nדוד,050\r\n"),
    ("cp1256", "مرحبا بالعالم"),
    ("cp1256", "الاسم,الهاتف\r\nمحمد,050\r\n"),
    ("cp1256", "سلام بچه"),
    ("cp949", "견적서,담당자\r\n홍길동,영업부\r\n"),
    ("cp932", "見積書"),
    ("cp932", "売上報告書,四月"),
    ("gbk", "合同"),
    ("gbk", "发票"),
    ("big5", "報價單"),
    ("cp1251", "Счёт"),
    ("cp1252", "Müller"),
    ("cp1252", "é"),
    ("cp1250", "Łódź"),
    ("cp1254", "ağaç"),
    ("cp1253", "Αθήνα"),
    ("cp1256", "نعم"),
    ("cp874", "ราคา"),
    ("cp874", "สวัสดีชาวโลก"),
    ("cp874", "ชื่อ,โทรศัพท์\r\nสมชาย,081\r\n"),
    ("cp874", "กรุงเทพ"),
    ("cp1257", "Ąžuolas žydi, ėjo šuo"),
    ("cp1257", "Šodien ir skaista diena, paldies tētim"),
]


def lines(text: str) -> str:
    return text.replace("\r\n", "\n").strip("\n")


def test_short_texts_in_the_usual_encodings() -> None:
    for encoding, text in TEXTS:
        document = read(text.encode(encoding), "a.csv" if "," in text or ";" in text else "a.txt")
        assert document.text == lines(text), (encoding, document.notes)
        assert document.notes[0].startswith("read as "), (encoding, text)


def test_texts_of_some_length_are_sure() -> None:
    for encoding, text in TEXTS:
        if len(text) > 30:
            document = read((text * 3).encode(encoding), "a.txt")
            assert "not sure" not in document.notes[0], (encoding, text)


def test_two_accents_may_be_anything() -> None:
    assert (read("é".encode("cp1252"), "a.txt")).notes == ("read as cp1252, encoding not sure",)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_wide_encodings_need_no_mark(encoding: str) -> None:
    texts = ["hello world\n", "会议纪要，今天\n", "Привет, мир\n", "姓名,电话\n张伟,138\n", "こんにちは, a"]
    for text in texts:
        assert (read(text.encode(encoding), "a.txt")).text == text.strip("\n"), text


@pytest.mark.parametrize(("encoding", "text"), [("iso2022_jp", "会議の資料"), ("iso2022_kr", "안녕하세요")])
def test_encodings_with_escapes(encoding: str, text: str) -> None:
    assert (read(text.encode(encoding), "mail.txt")).text == text


@pytest.mark.parametrize(
    ("charset", "encoding", "text"),
    [
        ("gb2312", "gb18030", "中文页面"),
        ("shift_jis", "cp932", "①日本語"),
        ("windows-1251", "cp1251", "да"),
        ("iso-8859-1", "cp1252", "“é”"),
        ("euc-kr", "cp949", "똠방각하"),
        ("iso-8859-8-i", "iso8859_8", "שלום"),
        ("nonsense", "cp1252", "Größe"),
    ],
)
def test_pages_are_read_as_they_declare(charset: str, encoding: str, text: str) -> None:
    for head in (f"<meta charset={charset}>", f"<meta http-equiv=x content='text/html; charset={charset}'>"):
        page = f"<html><head>{head}</head><p>{text}</p></html>".encode(encoding)
        assert text in (read(page, "a.html")).text


def test_tables_that_web_applications_call_xls_are_pages() -> None:
    page = "<table border=1><tr><td>姓名</td><td>电话</td></tr><tr><td>张伟</td><td>138</td></tr></table>"
    for encoding in ("gbk", "utf-8", "utf-8-sig", "utf-16"):
        document = read(page.encode(encoding), "report.xls")
        assert document.format == "html"
        assert "| 张伟 | 138 |" in document.text


async def test_an_upload_says_how_its_text_is_read(served: Served) -> None:
    for content, encoding in (
        ("姓名,电话\r\n张伟,138\r\n".encode("gbk"), "gb18030"),
        ("Привет, мир".encode("cp1251"), "cp1251"),
        ("héllo".encode(), "utf-8"),
        (b"\xff\xfeh\0i\0", "utf-16"),
        ("é".encode("cp1252"), None),
        (b"\x89PNG\r\n\x1a\n", None),
    ):
        assert (await served.upload(content, "a.csv")).get("encoding") == encoding


MIB = 1024**2


WORST = [
    b"<html>" + b"<script " * (MIB // 8),
    b"<html>" + b"<style>" * (MIB // 7) + b"</script>",
    b"<html>" + b"<svg></style " * (MIB // 13),
    b"<html>" + b"</script" + b" " * MIB,
    b"<!---->" * (MIB // 7),
    b"<!-- -->" * 8_000 + b"<htm",
    b"<?xml " * (MIB // 6),
    b"<meta " * (MIB // 6),
    b"<html><meta " + b"charset=" * (MIB // 8),
    b"<html>" + b"charset =  " * (MIB // 11),
    b"<!doctype" + b" " * MIB,
    b"<html>" + b"\n" * MIB + b"x",
    b"\xe4" * MIB,
    b"\x81" * MIB,
    b"\x1b" * MIB,
    b"a\0" * (MIB // 2),
    b"\0\1" * (MIB // 2),
]


async def test_the_worst_texts_take_linear_time() -> None:
    reader = DocumentReader(DocumentLimits(timeout_seconds=20.0), workers=1)
    for content in WORST:
        for name in ("a.html", "a.txt"):
            try:
                await reader.read(content, name)
            except DocumentRefused as refusal:
                assert refusal.reason != "took_too_long", content[:20]
    await reader.close()


def test_the_worst_margins_of_a_sheet_take_linear_time() -> None:
    for worst in (
        b"<headerFooter " * 5_000,
        b"<headerFooter>" + b'&amp;"' * 10_000 + b"</headerFooter>",
        b"<" + b"a" * 60_000,
    ):
        sheet = [f"<worksheet {hostile.SHEET}><sheetData><row><c><v>7</v></c></row></sheetData><!--".encode(), worst]
        document = read(hostile.workbook([*sheet, b"--></worksheet>"]), "a.xlsx")
        assert "7" in document.text
