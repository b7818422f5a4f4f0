"""The page of studies: one HTML file with everything in it, which works without a network.

StudyData --content--> Content: blocks of figures, tables, texts --render--> report.html
--serve---> 127.0.0.1, reloading
"""
