# hint: the two names are in the wrong order: first the one that burns the CPU, then the one that sleeps
def answer(lab, pid):
    profile = lab.profile(0.6, hz=499, pid=pid)
    burns = profile.top(1)["function"].iloc[0]

    waits = lab.offcpu(0.6, pid=pid).to_frame()
    path = waits.iloc[0]["user"].split(";")
    sleeps = path[path.index("turn") + 1]
    return sleeps, burns
