def answer(lab, text, command, path):
    with lab.load(text) as obj:
        with obj.programs["count"].attach():
            lab.sh(command)
        obj.maps["total"].pin(path)
