# hint: the second name is not the function that sleeps longest: lab.offcpu sees what waits, lab.profile does not
def answer(lab, pid):
    profile = lab.profile(0.6, hz=499, pid=pid)
    burns = profile.top(1)["function"].iloc[0]

    waits = lab.offcpu(0.6, pid=pid).to_frame()
    path = waits.iloc[0]["user"].split(";")
    sleeps = path[-1]
    return burns, sleeps
