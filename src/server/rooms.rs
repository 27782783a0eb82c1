//! Rooms: who is where in one namespace, and who is meant by a list of rooms.
//!
//! A plain data structure: the lock is outside, and nothing here calls user code. Sockets stand in numbered slots,
//! so that a set of sockets is a set of bits; each socket knows its place in each of its rooms, so that joining
//! and leaving cost the same in a room of two and in a room of a hundred thousand.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::collections::hash_map::Entry as MapEntry;
use std::fmt;
use std::slice;
use std::sync::Arc;

use indexmap::IndexMap;

use super::room_event::RoomEvent;
use super::socket::SocketId;

/// The name of a room. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Room(Arc<str>);

impl Room {
    /// Gives the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Room {
    fn from(name: &str) -> Room {
        Room(name.into())
    }
}

impl From<String> for Room {
    fn from(name: String) -> Room {
        Room(name.into())
    }
}

impl From<&String> for Room {
    fn from(name: &String) -> Room {
        Room(name.as_str().into())
    }
}

impl From<&Room> for Room {
    fn from(room: &Room) -> Room {
        room.clone()
    }
}

/// Every socket is in a room of its own, named by its id.
impl From<SocketId> for Room {
    fn from(id: SocketId) -> Room {
        Room(id.into_shared())
    }
}

/// Every socket is in a room of its own, named by its id.
impl From<&SocketId> for Room {
    fn from(id: &SocketId) -> Room {
        Room(id.clone().into_shared())
    }
}

impl Borrow<str> for Room {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Room {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl serde::Serialize for Room {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// One room or several: a name (`&str`, `String`, [`Room`], [`SocketId`]), or an array, slice or `Vec` of names.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not name rooms",
    note = "a room is named by a `&str`, a `String`, a `Room` or a `SocketId`; several rooms by an array, a slice \
            or a `Vec` of those"
)]
pub trait IntoRooms {
    /// Gives the rooms.
    fn into_rooms(self) -> impl Iterator<Item = Room>;
}

macro_rules! one_room {
    ($($name:ty),*) => {$(
        impl IntoRooms for $name {
            fn into_rooms(self) -> impl Iterator<Item = Room> {
                std::iter::once(Room::from(self))
            }
        }
    )*};
}

one_room!(&str, String, &String, Room, &Room, SocketId, &SocketId);

impl<T: Into<Room>, const N: usize> IntoRooms for [T; N] {
    fn into_rooms(self) -> impl Iterator<Item = Room> {
        self.into_iter().map(Into::into)
    }
}

impl<T: Into<Room>> IntoRooms for Vec<T> {
    fn into_rooms(self) -> impl Iterator<Item = Room> {
        self.into_iter().map(Into::into)
    }
}

impl<T: Clone + Into<Room>> IntoRooms for &[T] {
    fn into_rooms(self) -> impl Iterator<Item = Room> {
        self.iter().cloned().map(Into::into)
    }
}

impl<T: Clone + Into<Room>> IntoRooms for &Vec<T> {
    fn into_rooms(self) -> impl Iterator<Item = Room> {
        self.as_slice().into_rooms()
    }
}

impl<T: Clone + Into<Room>, const N: usize> IntoRooms for &[T; N] {
    fn into_rooms(self) -> impl Iterator<Item = Room> {
        self.as_slice().into_rooms()
    }
}

/// Who is where. `M` is the handle by which a member is reached.
#[derive(Debug)]
pub(crate) struct Rooms<M> {
    slots: Vec<Option<Entry<M>>>,
    free: Vec<Slot>,
    ids: HashMap<SocketId, Slot>,
    rooms: HashMap<Room, Members>,
    active: usize,
    /// What happened, in order, until somebody takes it; `None`: nobody wants to know.
    events: Option<Vec<RoomEvent>>,
}

/// The place of a socket in `Rooms::slots`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot(u32);

impl Slot {
    fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Debug)]
struct Entry<M> {
    member: M,
    /// A socket whose middlewares still run may be in rooms, but hears nothing.
    active: bool,
    /// Its rooms in the order it joined them, each with its place in `Members`.
    rooms: IndexMap<Room, u32>,
}

impl<M> Default for Rooms<M> {
    fn default() -> Rooms<M> {
        Rooms {
            slots: Vec::new(),
            free: Vec::new(),
            ids: HashMap::new(),
            rooms: HashMap::new(),
            active: 0,
            events: None,
        }
    }
}

impl<M> Rooms<M> {
    /// Gives the socket a slot, if it has none; it hears nothing before [`Rooms::activate`].
    pub(crate) fn enter(&mut self, id: &SocketId, member: impl FnOnce() -> M) {
        let MapEntry::Vacant(vacant) = self.ids.entry(id.clone()) else { return };
        let entry = Entry { member: member(), active: false, rooms: IndexMap::new() };
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                Slot(u32::try_from(self.slots.len() - 1).expect("there are fewer than 2^32 sockets"))
            }
        };
        self.slots[slot.index()] = Some(entry);
        vacant.insert(slot);
    }

    /// Lets the socket hear broadcasts from now on.
    pub(crate) fn activate(&mut self, id: &SocketId) {
        let Some(slot) = self.ids.get(id) else { return };
        let entry = self.slots[slot.index()].as_mut().expect("a known id has a filled slot");
        self.active += usize::from(!entry.active);
        entry.active = true;
    }

    /// Lets the socket hear nothing any more; it keeps its rooms.
    pub(crate) fn deactivate(&mut self, id: &SocketId) {
        let Some(slot) = self.ids.get(id) else { return };
        let entry = self.slots[slot.index()].as_mut().expect("a known id has a filled slot");
        self.active -= usize::from(entry.active);
        entry.active = false;
    }

    /// Puts the socket into `room`; says whether that is new. A socket without a slot is not put anywhere.
    pub(crate) fn join(&mut self, id: &SocketId, room: Room) -> bool {
        let Some(&slot) = self.ids.get(id) else { return false };
        let entry = self.slots[slot.index()].as_mut().expect("a known id has a filled slot");
        if entry.rooms.contains_key(&room) {
            return false;
        }
        let place = match self.rooms.entry(room.clone()) {
            MapEntry::Vacant(vacant) => {
                vacant.insert(Members::One(slot));
                0
            }
            MapEntry::Occupied(members) => members.into_mut().push(slot),
        };
        if let Some(events) = &mut self.events {
            // A room of one has been made for it.
            if place == 0 {
                events.push(RoomEvent::Created { room: room.clone() });
            }
            events.push(RoomEvent::Joined { room: room.clone(), id: id.clone() });
        }
        entry.rooms.insert(room, place);
        true
    }

    /// Takes the socket out of `room`; says whether it was there. An empty room is forgotten.
    pub(crate) fn leave(&mut self, id: &SocketId, room: &str) -> bool {
        let Some(&slot) = self.ids.get(id) else { return false };
        let entry = self.slots[slot.index()].as_mut().expect("a known id has a filled slot");
        // `shift_remove` keeps the order of the others.
        let Some(place) = entry.rooms.shift_remove(room) else { return false };
        self.vacate(id, room, place);
        true
    }

    /// Takes the socket out of all its rooms, in the order it joined them, and out of the namespace.
    pub(crate) fn remove(&mut self, id: &SocketId) -> Option<M> {
        let slot = self.ids.remove(id)?;
        let entry = self.slots[slot.index()].take().expect("a known id has a filled slot");
        self.free.push(slot);
        self.active -= usize::from(entry.active);
        for (room, place) in &entry.rooms {
            self.vacate(id, room.as_str(), *place);
        }
        Some(entry.member)
    }

    /// The rooms of the socket, in the order it joined them.
    pub(crate) fn rooms_of(&self, id: &SocketId) -> impl Iterator<Item = &Room> {
        self.entry(id).into_iter().flat_map(|entry| entry.rooms.keys())
    }

    /// Whether the socket is in the room and hears broadcasts.
    pub(crate) fn is_in(&self, id: &SocketId, room: &str) -> bool {
        self.entry(id).is_some_and(|entry| entry.active && entry.rooms.contains_key(room))
    }

    /// The socket with this id, if it hears broadcasts.
    pub(crate) fn get(&self, id: &str) -> Option<&M> {
        let entry = self.slots[self.ids.get(id)?.index()].as_ref()?;
        entry.active.then_some(&entry.member)
    }

    /// How many sockets hear broadcasts.
    pub(crate) fn len(&self) -> usize {
        self.active
    }

    /// Calls `each` once for every socket that is in one of `rooms` (in the namespace, where `rooms` is empty) and
    /// in none of `except`.
    pub(crate) fn select(&self, rooms: &[Room], except: &[Room], mut each: impl FnMut(&M)) {
        let excluded = self.excluded(except);
        let mut visit = |slot: Slot, entry: Option<&Entry<M>>| {
            if let Some(entry) = entry.filter(|entry| entry.active && !excluded.contains(slot)) {
                each(&entry.member);
            }
        };
        match rooms {
            [] => {
                let numbers = (0..).map(Slot);
                numbers.zip(&self.slots).for_each(|(slot, entry)| visit(slot, entry.as_ref()));
            }
            [room] => {
                for &slot in self.members(room) {
                    visit(slot, self.slots[slot.index()].as_ref());
                }
            }
            several => {
                let mut heard = SlotSet::with_slots(self.slots.len());
                for &slot in several.iter().flat_map(|room| self.members(room)) {
                    if heard.insert(slot) {
                        visit(slot, self.slots[slot.index()].as_ref());
                    }
                }
            }
        }
    }

    /// Notes what happens from now on.
    pub(crate) fn note_events(&mut self) {
        self.events.get_or_insert_default();
    }

    pub(crate) fn has_events(&self) -> bool {
        self.events.as_ref().is_some_and(|events| !events.is_empty())
    }

    pub(crate) fn take_events(&mut self) -> Vec<RoomEvent> {
        self.events.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Whether somebody is in this room.
    pub(crate) fn has(&self, room: &str) -> bool {
        self.rooms.contains_key(room)
    }

    /// All rooms somebody is in, in no particular order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Room> {
        self.rooms.keys()
    }

    fn excluded(&self, except: &[Room]) -> Excluded {
        let mut all = except.iter().flat_map(|room| self.members(room));
        let Some(&first) = all.next() else { return Excluded::Nobody };
        let Some(&second) = all.next() else { return Excluded::One(first) };
        let mut set = SlotSet::with_slots(self.slots.len());
        set.insert(first);
        set.insert(second);
        all.for_each(|slot| {
            set.insert(*slot);
        });
        Excluded::Several(set)
    }

    fn entry(&self, id: &SocketId) -> Option<&Entry<M>> {
        self.slots[self.ids.get(id)?.index()].as_ref()
    }

    fn members(&self, room: &Room) -> &[Slot] {
        self.rooms.get(room).map_or(&[], Members::as_slice)
    }

    /// Frees a place in a room; the room's last member moves there.
    fn vacate(&mut self, id: &SocketId, room: &str, place: u32) {
        let Some(members) = self.rooms.get_mut(room) else { return };
        let moved = members.swap_remove(place);
        let deleted = members.as_slice().is_empty();
        if deleted {
            self.rooms.remove(room);
        }
        if let Some(events) = &mut self.events {
            events.push(RoomEvent::Left { room: room.into(), id: id.clone() });
            if deleted {
                events.push(RoomEvent::Deleted { room: room.into() });
            }
        }
        let Some(moved) = moved else { return };
        let entry = self.slots[moved.index()].as_mut().expect("a member of a room has a filled slot");
        *entry.rooms.get_mut(room).expect("a member of a room knows the room") = place;
    }
}

/// The sockets in one room. Most rooms are a socket's own: they need no memory beside the entry itself.
#[derive(Debug)]
enum Members {
    One(Slot),
    Many(Vec<Slot>),
}

impl Members {
    fn as_slice(&self) -> &[Slot] {
        match self {
            Members::One(slot) => slice::from_ref(slot),
            Members::Many(slots) => slots,
        }
    }

    /// Adds a member; gives its place.
    fn push(&mut self, slot: Slot) -> u32 {
        match self {
            Members::One(first) => {
                *self = Members::Many(vec![*first, slot]);
                1
            }
            Members::Many(slots) => {
                slots.push(slot);
                u32::try_from(slots.len() - 1).expect("there are fewer than 2^32 sockets")
            }
        }
    }

    /// Removes the member at `place`; gives the one that stands there now, if one had to move.
    fn swap_remove(&mut self, place: u32) -> Option<Slot> {
        match self {
            Members::One(_) => {
                *self = Members::Many(Vec::new());
                None
            }
            Members::Many(slots) => {
                slots.swap_remove(place as usize);
                if slots.len() * 4 < slots.capacity() {
                    slots.shrink_to(slots.len() * 2);
                }
                slots.get(place as usize).copied()
            }
        }
    }
}

/// The sockets a broadcast leaves out. One is the usual case (the sender) and costs no set.
enum Excluded {
    Nobody,
    One(Slot),
    Several(SlotSet),
}

impl Excluded {
    fn contains(&self, slot: Slot) -> bool {
        match self {
            Excluded::Nobody => false,
            Excluded::One(one) => *one == slot,
            Excluded::Several(set) => set.contains(slot),
        }
    }
}

/// A set of slots, a bit each.
struct SlotSet(Vec<u64>);

impl SlotSet {
    fn with_slots(slots: usize) -> SlotSet {
        SlotSet(vec![0; slots.div_ceil(64)])
    }

    /// Says whether the slot is new.
    fn insert(&mut self, slot: Slot) -> bool {
        let (word, bit) = (&mut self.0[slot.index() / 64], 1 << (slot.index() % 64));
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    fn contains(&self, slot: Slot) -> bool {
        self.0[slot.index() / 64] & (1 << (slot.index() % 64)) != 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(number: u8) -> SocketId {
        SocketId::new(&format!("socket-{number}"))
    }

    fn room(number: u8) -> Room {
        Room::from(format!("room-{number}"))
    }

    fn selected(rooms: &Rooms<u8>, to: &[Room], except: &[Room]) -> Vec<u8> {
        let mut heard = Vec::new();
        rooms.select(to, except, |member| heard.push(*member));
        heard.sort_unstable();
        heard
    }

    fn three_sockets() -> Rooms<u8> {
        let mut rooms = Rooms::default();
        for number in 0..3 {
            rooms.enter(&id(number), || number);
            rooms.activate(&id(number));
            rooms.join(&id(number), Room::from(id(number)));
        }
        rooms
    }

    #[test]
    fn a_socket_in_two_rooms_hears_once() {
        let mut rooms = three_sockets();
        rooms.join(&id(1), room(1));
        rooms.join(&id(1), room(2));
        assert_eq!(selected(&rooms, &[room(1), room(2)], &[]), [1]);
    }

    #[test]
    fn no_rooms_mean_the_whole_namespace() {
        assert_eq!(selected(&three_sockets(), &[], &[]), [0, 1, 2]);
    }

    #[test]
    fn a_room_nobody_is_in_means_nobody() {
        assert_eq!(selected(&three_sockets(), &[room(9)], &[]), [0u8; 0]);
    }

    #[test]
    fn a_socket_id_names_a_room() {
        let rooms = three_sockets();
        assert_eq!(selected(&rooms, &[Room::from(id(2))], &[]), [2]);
        assert_eq!(selected(&rooms, &[], &[Room::from(id(2)), Room::from(id(0))]), [1]);
    }

    #[test]
    fn a_socket_that_is_not_active_hears_nothing() {
        let mut rooms = Rooms::default();
        rooms.enter(&id(0), || 0);
        rooms.join(&id(0), room(1));
        assert_eq!(selected(&rooms, &[room(1)], &[]), [0u8; 0]);
        assert_eq!(rooms.get("socket-0"), None);
        rooms.activate(&id(0));
        assert_eq!(selected(&rooms, &[room(1)], &[]), [0]);
        assert_eq!(rooms.get("socket-0"), Some(&0));
    }

    #[test]
    fn an_empty_room_is_forgotten() {
        let mut rooms = three_sockets();
        rooms.join(&id(0), room(1));
        rooms.join(&id(1), room(1));
        assert!(rooms.leave(&id(0), "room-1"));
        assert!(rooms.rooms.contains_key("room-1"));
        assert!(rooms.remove(&id(1)).is_some());
        assert!(!rooms.rooms.contains_key("room-1"));
    }

    #[test]
    fn leaving_an_unknown_room_is_harmless() {
        let mut rooms = three_sockets();
        assert!(!rooms.leave(&id(0), "nowhere"));
        assert!(!rooms.leave(&id(9), "nowhere"));
    }

    #[test]
    fn rooms_are_listed_in_the_order_of_joining() {
        let mut rooms = three_sockets();
        for number in [3, 1, 2] {
            rooms.join(&id(0), room(number));
        }
        rooms.leave(&id(0), "room-3");
        let listed: Vec<_> = rooms.rooms_of(&id(0)).map(Room::as_str).collect();
        assert_eq!(listed, ["socket-0", "room-1", "room-2"]);
    }

    #[test]
    fn lists_of_every_kind_name_rooms() {
        fn names(rooms: impl IntoRooms) -> Vec<String> {
            rooms.into_rooms().map(|room| room.to_string()).collect()
        }
        let owned = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(names("a"), ["a"]);
        assert_eq!(names(format!("job:{}", 7)), ["job:7"]);
        assert_eq!(names(["a", "b"]), ["a", "b"]);
        assert_eq!(names(&["a", "b"][..]), ["a", "b"]);
        let array = ["a", "b"];
        let list: &[&str; 2] = &array;
        assert_eq!(names(list), array);
        assert_eq!(names(&owned), ["a", "b"]);
        assert_eq!(names(owned), ["a", "b"]);
        assert_eq!(names(Room::from("a")), ["a"]);
        assert_eq!(names(id(1)), ["socket-1"]);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Enter(u8),
        Activate(u8),
        Join(u8, u8),
        Leave(u8, u8),
        Remove(u8),
        Select(Vec<u8>, Vec<u8>),
    }

    fn step() -> impl Strategy<Value = Step> {
        let (socket, room) = (0..8u8, 0..5u8);
        let several = prop::collection::vec(0..5u8, 0..3);
        prop_oneof![
            socket.clone().prop_map(Step::Enter),
            socket.clone().prop_map(Step::Activate),
            (socket.clone(), room.clone()).prop_map(|(s, r)| Step::Join(s, r)),
            (socket.clone(), room.clone()).prop_map(|(s, r)| Step::Join(s, r)),
            (socket.clone(), room).prop_map(|(s, r)| Step::Leave(s, r)),
            socket.prop_map(Step::Remove),
            (several.clone(), several).prop_map(|(to, except)| Step::Select(to, except)),
        ]
    }

    /// The same in the most naive way.
    #[derive(Default)]
    struct Model {
        sockets: Vec<(u8, bool)>,
        places: Vec<(u8, u8)>,
    }

    impl Model {
        fn knows(&self, socket: u8) -> bool {
            self.sockets.iter().any(|(known, _)| *known == socket)
        }

        fn is_in(&self, socket: u8, rooms: &[u8]) -> bool {
            rooms.iter().any(|room| self.places.contains(&(socket, *room)))
        }

        fn selected(&self, to: &[u8], except: &[u8]) -> Vec<u8> {
            let active = self.sockets.iter().filter(|(_, active)| *active).map(|(socket, _)| *socket);
            let mut heard: Vec<u8> = active
                .filter(|socket| to.is_empty() || self.is_in(*socket, to))
                .filter(|socket| !self.is_in(*socket, except))
                .collect();
            heard.sort_unstable();
            heard
        }

        fn remove_place(&mut self, place: (u8, u8)) -> bool {
            let before = self.places.len();
            self.places.retain(|known| *known != place);
            before != self.places.len()
        }
    }

    fn apply(rooms: &mut Rooms<u8>, model: &mut Model, step: Step) {
        match step {
            Step::Enter(s) => {
                rooms.enter(&id(s), || s);
                if !model.knows(s) {
                    model.sockets.push((s, false));
                }
            }
            Step::Activate(s) => {
                rooms.activate(&id(s));
                model
                    .sockets
                    .iter_mut()
                    .filter(|(known, _)| *known == s)
                    .for_each(|(_, active)| *active = true);
            }
            Step::Join(s, r) => {
                let new = model.knows(s) && !model.places.contains(&(s, r));
                if new {
                    model.places.push((s, r));
                }
                assert_eq!(rooms.join(&id(s), room(r)), new);
            }
            Step::Leave(s, r) => {
                assert_eq!(rooms.leave(&id(s), room(r).as_str()), model.remove_place((s, r)));
            }
            Step::Remove(s) => {
                assert_eq!(rooms.remove(&id(s)), model.knows(s).then_some(s));
                model.sockets.retain(|(known, _)| *known != s);
                model.places.retain(|(known, _)| *known != s);
            }
            Step::Select(to, except) => {
                let (to_rooms, except_rooms): (Vec<_>, Vec<_>) =
                    (to.iter().map(|r| room(*r)).collect(), except.iter().map(|r| room(*r)).collect());
                assert_eq!(selected(rooms, &to_rooms, &except_rooms), model.selected(&to, &except));
            }
        }
    }

    /// What the events say of who is where, checked as it is replayed.
    fn replay(events: Vec<RoomEvent>, places: &mut Vec<(SocketId, Room)>, existing: &mut Vec<Room>) {
        for event in events {
            match event {
                RoomEvent::Created { room } => {
                    assert!(!existing.contains(&room));
                    existing.push(room);
                }
                RoomEvent::Joined { room, id } => {
                    assert!(existing.contains(&room) && !places.contains(&(id.clone(), room.clone())));
                    places.push((id, room));
                }
                RoomEvent::Left { room, id } => {
                    let place = (id, room);
                    assert!(places.contains(&place));
                    places.retain(|other| *other != place);
                }
                RoomEvent::Deleted { room } => {
                    assert!(existing.contains(&room) && places.iter().all(|(_, other)| *other != room));
                    existing.retain(|other| *other != room);
                }
            }
        }
        assert!(existing.iter().all(|room| places.iter().any(|(_, other)| other == room)));
    }

    proptest! {
        #[test]
        fn room_events_tell_who_is_where(steps in prop::collection::vec(step(), 0..200)) {
            let (mut rooms, mut model) = (Rooms::default(), Model::default());
            rooms.note_events();
            let (mut places, mut existing) = (Vec::new(), Vec::new());
            for step in steps {
                apply(&mut rooms, &mut model, step);
                replay(rooms.take_events(), &mut places, &mut existing);
                let expected: Vec<_> = model.places.iter().map(|(s, r)| (id(*s), room(*r))).collect();
                prop_assert_eq!(&places, &expected);
            }
        }

        #[test]
        fn rooms_behave_as_a_list_of_pairs(steps in prop::collection::vec(step(), 0..200)) {
            let (mut rooms, mut model) = (Rooms::default(), Model::default());
            for step in steps {
                apply(&mut rooms, &mut model, step);
                prop_assert_eq!(rooms.len(), model.sockets.iter().filter(|(_, active)| *active).count());
                for (socket, _) in &model.sockets {
                    let listed: Vec<_> = rooms.rooms_of(&id(*socket)).cloned().collect();
                    let expected: Vec<_> =
                        model.places.iter().filter(|(s, _)| s == socket).map(|(_, r)| room(*r)).collect();
                    prop_assert_eq!(listed, expected);
                }
                let mut named: Vec<_> = model.places.iter().map(|(_, r)| *r).collect();
                named.sort_unstable();
                named.dedup();
                prop_assert_eq!(rooms.rooms.len(), named.len());
            }
        }
    }
}
