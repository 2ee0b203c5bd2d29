# hint: there is nothing at the path: without a pin the map went away with its loader
def answer(lab, text, command, path):
    with lab.load(text) as obj:
        with obj.programs["count"].attach():
            lab.sh(command)
        obj.maps["total"].pin(path)
        obj.maps["total"].unpin(path)
