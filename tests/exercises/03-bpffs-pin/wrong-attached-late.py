# hint: the pinned map has counted nothing: the program must be attached while the command runs
def answer(lab, text, command, path):
    with lab.load(text) as obj:
        lab.sh(command)
        with obj.programs["count"].attach():
            obj.maps["total"].pin(path)
