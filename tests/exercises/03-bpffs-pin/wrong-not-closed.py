# hint: the loader has not left: its program is still loaded; close the object, and let the pin alone hold the map
def answer(lab, text, command, path):
    obj = lab.load(text)
    with obj.programs["count"].attach():
        lab.sh(command)
    obj.maps["total"].pin(path)
