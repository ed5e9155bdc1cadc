"""The child that extracts documents: no file and no network can be opened in it, and its memory and time are limited.

Modules:

    main          the target of the process: one call for each file
    errors        the errors of a call
    document      text, blocks, and how both are built
    decoding      bytes to text
    plain_text    text and Markdown
    html          HTML, after the cheap checks of `html_checks`
    pdf           PDF
    docx          DOCX: the archive
    word_xml      DOCX: the XML of a part
    words         words, sentences and lines of a text
    sections      blocks below their headings
    passages      sections, cut into passages
"""
