//! What moves: exactly what must, and nothing in vain.

use crate::{Plan, SIX, examples, plan};

#[test]
fn parts() {
    // Service, down before, down now, percent that moves.
    let cases = [
        ("multi-standby", "", "", 0.0),
        ("multi-standby", "A", "A", 0.0),
        ("multi-standby", "", "A/a1", 20.0),
        ("multi-standby", "A/a1", "A/a1 A/a2", 25.0),
        ("multi-standby", "A/a1 A/a2", "A/a1 A/a2 A/a3", 50.0),
        ("multi-standby", "A/a1 A/a2 A/a3", "A/a1 A/a2", 50.0),
        ("multi-standby", "", "A", 50.0),
        ("multi-standby", "A", "", 50.0),
        ("multi-standby", "A", "A X", 37.5),
        ("multi-standby", "", "A B", 80.0),
        ("multi-standby", "A", "A Z", 0.0),
        ("multi-standby", "A/a1 B/b1", "A/a2 B/b1", 35.0),
        ("standby-drop", "A X Y", "A X Y Z", 50.0),
        ("one-standby", "A", "B", 80.0),
        ("multi-master", "A", "B", 80.0),
    ];
    for (service, before, down, percent) in cases {
        let all = plan(SIX, before, down);
        let service = all.service(service);
        let is = 100.0 * service.moved;
        let close = (is - percent).abs() <= if percent == 0.0 { 0.0 } else { 0.5 };
        assert!(close, "{}: {before:?} to {down:?}: {is}, not {percent}", service.name);
    }
}

#[test]
fn one_dead_node_moves_its_share_and_nothing_else() {
    let mut files: Vec<String> = examples().iter().map(|f| f.display().to_string()).collect();
    files.push(SIX.to_owned());
    for file in files {
        let up = plan(&file, "", "");
        let mut names: Vec<String> = nodes(&up).collect();
        names.sort();
        names.dedup();
        for name in names {
            let (down, back) = (plan(&file, "", &name), plan(&file, &name, ""));
            for (was, (is, again)) in
                up.services.iter().zip(down.services.iter().zip(&back.services))
            {
                let cluster_lives = is.clusters.iter().all(|c| c.health == "healthy");
                let of = |n: &&crate::Node| format!("{}/{}", n.cluster, n.name) == name;
                let share = was.nodes.iter().find(of).map_or(0.0, |node| node.share);
                let place = format!("{file}: {}, {name}", is.name);
                if cluster_lives {
                    assert!((is.moved - share).abs() < 1e-12, "{place}: {} {share}", is.moved);
                }
                assert!(is.moved >= share - 1e-12, "{place}");
                assert_eq!((is.moved, is.moved_extra), (again.moved, 0.0), "{place}");
                assert_eq!(again.moved_extra, 0.0, "{place}");
                assert_eq!(again.nodes, was.nodes, "{place}: back where they were");
            }
        }
    }
}

fn nodes(plan: &Plan) -> impl Iterator<Item = String> + '_ {
    let nodes = plan.services.iter().flat_map(|service| &service.nodes);
    nodes.map(|node| format!("{}/{}", node.cluster, node.name))
}

#[test]
fn no_change_of_health_moves_anything_in_vain() {
    let states = [
        "",
        "A/a1",
        "A/a4 B/b1 C/c2",
        "A/a1 A/a2 A/a3",
        "A X/x1",
        "A X Y",
        "A B C",
        "A X Y Z",
        "B C X/x1 X/x2",
        "A/a1 A/a2 A/a3 B/b1 B/b2 C X/x1 X/x2 Y Z",
        "A B C X Y Z",
    ];
    for before in states {
        for down in states {
            for service in plan(SIX, before, down).services {
                let place = format!("{}: {before:?} to {down:?}", service.name);
                assert_eq!(service.moved_extra, 0.0, "{place}");
                assert!(before != down || service.moved == 0.0, "{place}");
            }
        }
    }
}
