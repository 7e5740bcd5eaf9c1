"""Tables as data: columns found, separators, what is left out, splits, texts of labels."""

from __future__ import annotations

import csv
import gzip
import json

import pytest

from learned_index.data import (
    TableOptions,
    import_table,
    open_data,
    open_dataset,
    read_label_texts,
)
from learned_index.data.tables.cells import labels_of, text_of
from learned_index.errors import DataFormatError, InputError
from learned_index.persistence import foreign

pytest.importorskip("pyarrow")
HEADER = ["key", "title", "abstract", "categories", "year"]
ROWS = [
    ["p1", "Red shoe", "A shoe,\nred", "shoes|care", "2001"],
    ["p2", 'Blue "lace"', "", "shoes", "2002"],
    ["p3", "Hat", "for heads; green", "hats | old hats", "2003"],
    ["p4", "", "", "hats", "2004"],
    ["p5", "Sock", "", " | ", "2005"],
    ["p6", "Größe – 大", "007", "hats|hats", "2006"],
]
TEXTS = ["Red shoe A shoe,\nred", 'Blue "lace"', "Hat for heads; green", "Größe – 大 007"]
LABELS = [["shoes", "care"], ["shoes"], ["hats", "old hats"], ["hats"]]
CHOSEN = TableOptions(text=("title", "abstract"), labels=("categories",), separator="|", id="key")


def write_csv(path, rows=ROWS, *, header=HEADER, delimiter=",", encoding="utf-8"):
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows] if header else rows)
    return path


def objects(rows=ROWS):
    for row in rows:
        found = dict(zip(HEADER, row, strict=True))
        yield found | {"categories": [x.strip() for x in found["categories"].split("|")]}


def write_jsonl(path):
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n\n" for row in objects())
    return path


def write_parquet(path):
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.Table.from_pylist(list(objects()))
    __import__("pyarrow.parquet").parquet.write_table(table, path)
    return path


WRITERS = {
    "t.csv": write_csv,
    "t.CSV.gz": write_csv,
    "t.tsv": lambda path: write_csv(path, delimiter="\t"),
    "semicolons.csv": lambda path: write_csv(path, delimiter=";"),
    "marked.csv": lambda path: write_csv(path, encoding="utf-8-sig"),
    "t.parquet": write_parquet,
    "t.jsonl": write_jsonl,
    "t.json.gz": write_jsonl,
}


def names_of(data):
    return [sorted(data.label_names(row)) for row in range(len(data))]


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_of_table_gives_the_same_points(tmp_path, name):
    path = WRITERS[name](tmp_path / name)
    imported = import_table(path, tmp_path / "out", CHOSEN)
    for folder in (imported.folder, open_data(path, CHOSEN), open_dataset(tmp_path / "out")):
        assert folder.splits == ("train",)
        train = folder.read("train")
        assert list(train.texts) == list(folder.iter_texts("train")) == TEXTS
        assert train.ids == ["p1", "p2", "p3", "p6"]
        assert names_of(train) == [sorted(row) for row in LABELS]
        assert folder.vocabulary.keys == ("care", "hats", "old hats", "shoes")
    report = imported.report
    assert report.rows == 6 and report.kept == {"train": 4}
    assert {why: d.rows for why, d in report.dropped.items()} == {"no text": [4], "no label": [5]}
    about = json.loads((tmp_path / "out" / "source.json").read_text("utf-8"))
    assert about["source"] == name and about["dropped"]["no text"] == {"count": 1, "rows": [4]}


def test_rows_of_another_width_are_left_out_and_named(tmp_path):
    path = write_csv(tmp_path / "t.csv")
    with path.open("a", encoding="utf-8") as file:
        file.write('p7,too,few\np8,Cap,"a ""cap""",hats,2008\n\np9,too,many,x,1,2\n')
    imported = import_table(path, tmp_path / "out", CHOSEN)
    assert imported.folder.read("train").ids[-1] == "p8"
    assert imported.report.rows == 9
    (line,) = [line for line in imported.report.lines() if "columns" in line]
    assert line == "dropped 2 rows: another number of columns than the header (rows 7, 9)"


def test_columns_are_found_by_their_names(tmp_path):
    folder = open_data(write_csv(tmp_path / "t.csv"), TableOptions(separator="|"))
    assert folder.read("train").texts[0] == TEXTS[0]
    roles = folder.roles
    assert roles.text == ("title", "abstract") and roles.id == "key" and roles.split is None
    assert set(roles.guessed) == {"text", "labels", "id"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text": ("titel",)}, r"no column 'titel'; it has 'key', .*did you mean 'title'\?"),
        ({"labels": ("nothing",)}, "no column 'nothing'"),
        ({"id": "uid"}, "no column 'uid'"),
        ({"text": ("year",), "separator": None}, r"4 of the first 6 cells .*--separator '\|'"),
        ({"test_share": 0.9999}, "leaves one part empty"),
        ({"text": ("title",), "labels": ("title",)}, "'title' is to be text and labels"),
    ],
)
def test_what_cannot_be_meant(tmp_path, options, message):
    path = write_csv(tmp_path / "t.csv")
    given = {"separator": "|"} | options
    with pytest.raises(InputError, match=message):
        open_data(path, TableOptions(**given))
    with pytest.raises(InputError, match=message):
        import_table(path, tmp_path / "out", TableOptions(**given))
    assert not (tmp_path / "out").exists()


def test_columns_that_no_name_tells_are_asked_for(tmp_path):
    path = write_csv(tmp_path / "t.csv", [["a", "b"]], header=["foo", "bar"])
    with pytest.raises(InputError, match=r"which column holds the text\? .*--text.*'foo', 'bar'"):
        open_data(path)
    with pytest.raises(InputError, match=r"which column holds the labels\?"):
        open_data(path, TableOptions(text=("foo",)))


def test_a_table_is_split_on_request_alone(tmp_path):
    rows = [
        [f"text {n}", f"l{n % 3}", ("train", "Validation", "tst", "x")[n % 4]] for n in range(40)
    ]
    path = write_csv(tmp_path / "t.csv", rows, header=["body", "label", "fold"])
    assert open_data(path).splits == ("train",)
    drawn = TableOptions(test_share=0.1, seed=3)
    imported = import_table(path, tmp_path / "drawn", drawn).folder
    direct = open_data(path, drawn)
    assert imported.splits == direct.splits == ("train", "test")
    for split, size in (("train", 36), ("test", 4)):
        assert list(imported.read(split).texts) == list(direct.read(split).texts)
        assert len(direct.read(split)) == size
    other = open_data(path, TableOptions(test_share=0.1, seed=4))
    assert other.read("test").texts != direct.read("test").texts
    named = TableOptions(split="fold")
    for folder in (open_data(path, named), import_table(path, tmp_path / "named", named).folder):
        assert folder.splits == ("train", "dev", "test")
        assert folder.read("dev").texts[0] == "text 1" and len(folder.read("test")) == 10
    report = open_data(path, named).report
    assert report.dropped["the split is 'x', expected train, dev or test"].count == 10
    with pytest.raises(InputError, match="has 10 test points already, by a column"):
        open_data(path, TableOptions(split="fold", test_share=0.5))


@pytest.mark.parametrize("wrong", [0, 1, -0.5, 2])
def test_a_share_that_is_none(wrong):
    with pytest.raises(InputError, match="share of test points"):
        TableOptions(test_share=wrong)


@pytest.mark.parametrize(
    ("value", "separator", "expected"),
    [
        ("a|b ", "|", ["a", "b"]),
        ("a, b", None, ["a, b"]),
        ('["a", "b c"]', "list", ["a", "b c"]),
        ("['a', 3]", "list", ["a", "3"]),
        ("<http://x/1> http://x/2", "uris", ["http://x/1", "http://x/2"]),
        (["a", 7, None, "a|b"], "|", ["a", "7", "a|b"]),
        ([{"uri": "u", "label": "U"}, {"label": "V"}], None, ["u", "V"]),
        ({"uri": "u"}, None, ["u"]),
        (3.0, None, ["3"]),
        (float("nan"), None, []),
        (None, "|", []),
        ("  ", "|", []),
    ],
)
def test_labels_of_a_cell(value, separator, expected):
    assert [key for key, _ in labels_of(value, separator)] == expected


def test_cells_that_hold_something_else():
    assert text_of(["a", None, "b"]) == "a b" and text_of(7.0) == "7" and text_of(None) == ""
    for value, separator in (({"x": 1}, None), ("[1, 2", "list"), (True, None), ([[{}]], None)):
        with pytest.raises(InputError):
            labels_of(value, separator)
    with pytest.raises(InputError, match="the text is an object"):
        text_of({"x": 1})


def test_a_packed_table_that_swells_is_refused(tmp_path, monkeypatch):
    rows = [[" " * 2**16, "x"]] * 100 + [["a text", "x"]]
    path = write_csv(tmp_path / "t.csv.gz", rows, header=["text", "labels"])
    assert open_data(path).read("train").texts == ["a text"]
    monkeypatch.setattr(foreign, "_ROOM", 2**20)
    with pytest.raises(DataFormatError, match="unpacks to"):
        open_data(path)
    upper = path.rename(tmp_path / "T.JSONL.GZ")
    with gzip.open(upper, "wt") as file:
        file.write('{"text": "a", "labels": ["x"]}\n')
    assert open_data(upper).read("train").texts == ["a"]


def test_lists_that_a_csv_writes_need_no_separator(tmp_path):
    rows = [["t", "['a, b', 'c']"], ["u", "[]"], ["v", '["d"]']]
    path = write_csv(tmp_path / "t.csv", rows, header=["text", "tags"])
    assert open_data(path).vocabulary.keys == ("a, b", "c", "d")


def test_annif_tsv_and_vocabularies(tmp_path):
    corpus = tmp_path / "corpus.tsv"
    corpus.write_text(
        'a "text, unclosed\t<http://x/1> <http://x/2>\nother\t<http://x/9>\n', "utf-8"
    )
    folder = open_data(corpus)
    assert folder.read("train").texts == ['a "text, unclosed', "other"]
    assert folder.vocabulary.keys == ("http://x/1", "http://x/2", "http://x/9")
    vocabularies = {
        "v.tsv": "<http://x/1>\tOne\t1.1\n<http://x/2>\tTwo\n<http://x/3>\tThree\n",
        "v.csv": "uri,label_fi,label_en,notation\nhttp://x/1,yksi,One,\nhttp://x/2,kaksi,Two,\n"
        'http://x/3,kolme,"Three",3\n',
        "v.ttl": "@prefix s: <http://www.w3.org/2004/02/skos/core#> .\n"
        '<http://x/1> a s:Concept ; s:prefLabel "One"@en , "yksi"@fi .\n'
        '<http://x/2> s:prefLabel "Two"@en . <http://x/3> s:prefLabel "Three"@en .\n',
    }
    for name, content in vocabularies.items():
        (tmp_path / name).write_text(content, "utf-8")
        if name == "v.ttl":
            pytest.importorskip("rdflib")
        chosen = TableOptions(vocabulary=tmp_path / name, language=None if "tsv" in name else "en")
        folder = open_data(corpus, chosen)
        assert folder.vocabulary.keys == ("http://x/1", "http://x/2", "http://x/3", "http://x/9")
        assert folder.vocabulary.texts == ("One", "Two", "Three", "")
        assert folder.report.labels_without_text == 1
        assert names_of(folder.read("train")) == [["One", "Two"], ["http://x/9"]]
    with pytest.raises(InputError, match=r"texts in en, fi; say which \(--language\)"):
        open_data(corpus, TableOptions(vocabulary=tmp_path / "v.ttl"))
    (tmp_path / "v.tsv").write_text("other\tOther\n", "utf-8")
    with pytest.raises(InputError, match=r"none of the 3 labels is in the file"):
        open_data(corpus, TableOptions(vocabulary=tmp_path / "v.tsv"))


def test_other_labels_and_definitions_of_skos_are_descriptions(tmp_path):
    pytest.importorskip("rdflib")
    path, prefix = tmp_path / "v.ttl", "@prefix s: <http://www.w3.org/2004/02/skos/core#> .\n"
    path.write_text(
        prefix + '<http://x/1> s:prefLabel "One"@en , "yksi"@fi ; s:altLabel "Unit"@en , '
        '"Single  one"@en , "ykkonen"@fi ; s:definition "The first\\nnumber"@en .\n'
        '<http://x/2> s:prefLabel "Two"@en ; s:scopeNote "Pairs" .\n',
        "utf-8",
    )
    labels = read_label_texts(path, language="en")
    assert labels.texts == ("One", "Two")
    assert labels.descriptions == ("Single one; Unit; The first number", "Pairs")
    assert read_label_texts(path, language="fi").descriptions == ("ykkonen", "Pairs")
    rows = [["a text", "http://x/1"]]
    table = write_csv(tmp_path / "t.csv", rows, header=["text", "labels"])
    options = TableOptions(vocabulary=path, language="en")
    folder, _ = import_table(table, tmp_path / "out", options)
    assert open_dataset(folder.path).vocabulary.descriptions == labels.descriptions
    assert folder.ignored == ()


def test_annif_csv_and_json_lines(tmp_path):
    path = write_csv(
        tmp_path / "c.csv", [["d1", "a text", "http://x/1 http://x/2"]],
        header=["document_id", "text", "subject_uris"],
    )  # fmt: skip
    train = open_data(path).read("train")
    assert train.ids == ["d1"] and train.vocabulary.keys == ("http://x/1", "http://x/2")
    record = {"document_id": "d1", "text": "a", "metadata": {}, "subjects": [
        {"uri": "http://x/1", "label": "One"}, {"uri": "http://x/2"}]}  # fmt: skip
    (tmp_path / "train.jsonl").write_text(json.dumps(record) + "\n", "utf-8")
    folder = open_data(tmp_path / "train.jsonl")
    assert folder.vocabulary.texts == ("One", "") and folder.read("train").ids == ["d1"]
    path.unlink()
    same = open_dataset(tmp_path)
    assert same.vocabulary == folder.vocabulary and same.read("train").ids == ["d1"]


def test_a_label_may_be_named_by_its_text(tmp_path):
    path = write_csv(tmp_path / "t.csv", [["t", "One|k2"]], header=["text", "labels"])
    (tmp_path / "v.txt").write_text("k1\tOne\nk2\tTwo\n", "utf-8")
    chosen = TableOptions(separator="|", vocabulary=tmp_path / "v.txt")
    assert open_data(path, chosen).read("train").labels.toarray().tolist() == [[1, 1]]


def test_other_encodings_and_no_header(tmp_path):
    path = write_csv(tmp_path / "t.csv", [["Größe", "ä"]], header=None, encoding="cp1252")
    with pytest.raises(DataFormatError, match=r"is not utf-8; say what it is \(--encoding"):
        open_data(path, TableOptions(columns=("text", "label")))
    chosen = TableOptions(columns=("text", "label"), encoding="cp1252")
    train = open_data(path, chosen).read("train")
    assert list(train.texts) == ["Größe"] and train.vocabulary.keys == ("ä",)
    with pytest.raises(InputError, match="encoding 'klingon' is unknown"):
        open_data(path, TableOptions(encoding="klingon"))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-8-sig"])
@pytest.mark.parametrize("ends", ["\r\n", "\r", "\n"])
def test_tables_as_spreadsheets_write_them(tmp_path, encoding, ends):
    path = tmp_path / "t.csv"
    with path.open("w", newline="", encoding=encoding) as file:
        file.write(ends.join(["text;labels", "Größe;ä|b", "Hut;b", ""]))
    train = open_data(path, TableOptions(separator="|", encoding=encoding)).read("train")
    assert list(train.texts) == ["Größe", "Hut"]
    assert [set(names) for names in names_of(train)] == [{"ä", "b"}, {"b"}]


def test_a_column_for_each_label_is_refused(tmp_path):
    rows = [["Red shoe", "1", "0"], ["Hat", "0", ""]]
    path = write_csv(tmp_path / "t.csv", rows, header=["text", "shoes", "hats"])
    with pytest.raises(InputError, match="'shoes', 'hats' hold nothing but 0 and 1"):
        open_data(path, TableOptions(labels=("shoes", "hats")))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"", r"the header is ''"),
        ("t.csv", b"text,labels\n", r"no row can be used: it has no rows|has a header and no rows"),
        ("t.csv", b"text,labels\n,\n", r"no row can be used: dropped 1 row: no text"),
        ("t.csv", b"text,text\na,b\n", r"two columns called 'text'"),
        ("t.csv", b"text,labels\n\xff\xfe,a\n", r"is not utf-8"),
        ("t.csv", b'text,labels\n"' + b"a,b\n" * 2**22, r"row of more than 8 MiB; is a quote"),
        ("t.csv.gz", b"text,labels\na,b\n", r"cannot be read"),
        ("t.parquet", b"PAR1junk", r"is no Parquet file"),
        ("t.jsonl", b"", r"is empty"),
        ("t.jsonl", b'[{"text": 1}]', r"one object a line is expected \(jq"),
        ("t.jsonl", b'[\n{"text": 1}\n]', r"is one JSON array"),
        ("t.jsonl", b'{"text": "a", "labels": [{"x": 1}]}', r"row 1: a label is an object"),
    ],
)
def test_damaged_tables(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises((DataFormatError, InputError), match=message):
        open_data(tmp_path / name)
    with pytest.raises((DataFormatError, InputError), match=message):
        import_table(tmp_path / name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_failed_import_leaves_what_was_there(tmp_path):
    path = write_csv(tmp_path / "t.csv")
    import_table(path, tmp_path / "out", CHOSEN)
    before = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    with pytest.raises(InputError, match="exists and is not empty"):
        import_table(path, tmp_path / "out", CHOSEN)
    write_csv(path, [["p1", "", "", "", ""]])
    with pytest.raises(InputError, match="no row can be used"):
        import_table(path, tmp_path / "out", CHOSEN, overwrite=True)
    assert {f.name: f.read_bytes() for f in (tmp_path / "out").iterdir()} == before


def test_columns_are_for_tables(tmp_path):
    (tmp_path / "train_texts.txt").write_text("a\n")
    (tmp_path / "train_labels.txt").write_text("0\n")
    with pytest.raises(InputError, match="columns are named; they are for tables"):
        open_data(tmp_path, CHOSEN)
    assert open_data(tmp_path).format == "text"
    with pytest.raises(DataFormatError, match="is missing"):
        open_data(tmp_path / "no.csv")
    with pytest.raises(DataFormatError, match=r"is a file; expected a data folder .*\.csv"):
        open_data(tmp_path / "train_texts.txt")


def test_a_folder_of_tables_has_a_file_for_each_split(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    header = ["text", "label"]
    write_csv(folder / "train-00000-of-00002.csv", [["a", "x"], ["", "x"]], header=header)
    write_csv(folder / "train-00001-of-00002.csv", [["b", "y"]], header=header)
    write_csv(folder / "test.csv", [["c", "z"], ["d", "x"]], header=header)
    write_csv(folder / "notes.csv", [["1"]], header=["number"])
    imported = import_table(folder, tmp_path / "out")
    for opened in (open_data(folder), imported.folder):
        assert opened.splits == ("train", "test") and opened.vocabulary.keys == ("x", "y", "z")
        assert list(opened.read("train").texts) == ["a", "b"]
        assert names_of(opened.read("test")) == [["z"], ["x"]]
    assert imported.report.rows == 5 and imported.report.kept == {"train": 2, "test": 2}
    line = "dropped 1 row: train-00000-of-00002.csv: no text (row 2)"
    assert imported.report.lines() == [line]
    assert open_data(folder / "test.csv").splits == ("test",)
    with pytest.raises(InputError, match="2 test points already"):
        open_data(folder, TableOptions(test_share=0.5))
    write_csv(folder / "dev.csv", [["c", "z"]], header=["body", "label"])
    with pytest.raises(InputError, match=r"test\.csv has no column 'body', which dev\.csv has"):
        open_data(folder)
    with pytest.raises(DataFormatError, match="is a table, expected a data folder; li data import"):
        open_dataset(folder / "test.csv")


def test_json_lines_of_other_keys_are_a_folder_of_tables_where_they_are_named(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"q": "a", "a": ["x"]}\n', "utf-8")
    with pytest.raises(DataFormatError, match=r'"text" is missing.*the keys "q", "a".*--text KEY'):
        open_data(tmp_path).read("train")
    folder = open_data(tmp_path, TableOptions(text=("q",), labels=("a",)))
    assert folder.read("train").texts == ["a"] and folder.vocabulary.keys == ("x",)
